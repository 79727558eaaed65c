"""Dashboards and alerts on the metrics of a real server, by Prometheus where it is installed; KServe's runtime, run."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from typing import get_args

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import yaml
from kserve_files import containers
from monitoring_files import DASHBOARDS, DEPLOY, RULES, alerts, expressions

from container_triton import ContainerTriton
from ingrain.vocabulary import Scope
from keys_files import entry, header, secret, write_keys
from processes import free_port, serve

pytestmark = pytest.mark.slow  # converts a small model, twice

# Functions and labels aside, every word of an expression that is a metric begins so.
METRIC = re.compile(r"\b((?:ingrain|nv)_\w+)\b")
# As the chart's ServiceMonitor adds them.
LABELS = {"namespace": "default", "service": "t-ingrain", "pod": "t-ingrain-1"}
# With worker processes, or with several Tritons, only.
OF_OTHER_SETUPS = {"ingrain_worker_restarts_total", "ingrain_workers", "ingrain_triton_state"}


@pytest.fixture(scope="module")
def server(small_model, warm, tmp_path_factory):
    """A server in front of a Triton with metrics, with a small model, named keys, and right and wrong requests."""
    folder = tmp_path_factory.mktemp("observed")
    grpc, metrics = free_port(), free_port()
    options = ("--model-control-mode=explicit", "--metrics-address=127.0.0.1", f"--metrics-port={metrics}")
    (folder / "triton").mkdir()
    all_scopes = get_args(Scope)
    keys = write_keys(folder / "keys.json", entry("all", scopes=all_scopes), entry("few", requests_per_minute=1))
    with (
        ContainerTriton(folder / "triton", folder, grpc, options, metrics=True),
        serve(
            folder / "server",
            f"--local-models-dir={small_model.parent}",
            "--models=model",
            TRITON_GRPC_URL=f"127.0.0.1:{grpc}",
            INSTANCE_KIND="KIND_CPU",
            INGRAIN_KEYS_FILE=str(keys),
            INGRAIN_STAGE_METRICS="true",
            **warm,
        ) as server,
    ):
        server.wait_until(lambda: httpx.get(f"{server.inference}/ready").status_code == 200, 300)
        send(server)
        yield server, f"127.0.0.1:{metrics}"


def embed(server, texts, *, key="all", name="model") -> int:
    body = {"name": name, "text": texts}
    return httpx.post(f"{server.inference}/embed_text", json=body, headers=header(key), timeout=60).status_code


def send(server) -> None:
    assert [embed(server, text) for text in ("one", "another text", "one")] == [200] * 3
    assert embed(server, "one", name="nobody") == 404
    assert [embed(server, "one", key="few") for _ in range(2)] == [200, 429]


@pytest.fixture(scope="module")
def scraped(server):
    """Names of all samples of the server and of its Triton."""
    served, triton = server
    texts = [
        httpx.get(f"{served.inference}/metrics", headers={"Accept": "text/plain", **header("all")}, timeout=30).text,
        httpx.get(f"http://{triton}/metrics", timeout=30).text,
    ]
    return {match[1] for text in texts for match in re.finditer(r"^(\w+)[{ ]", text, re.MULTILINE)}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafana_asks_for_nothing_that_no_server_exports(path, scraped):
    assert {name for _, text in expressions(path) for name in METRIC.findall(text)} <= scraped


def test_alerts_ask_for_nothing_that_no_server_exports(scraped):
    assert {name for alert in alerts() for name in METRIC.findall(alert["expr"])} <= scraped | OF_OTHER_SETUPS


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    """A Prometheus that scrapes both, with the rules; its address."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not here (Debian: apt install prometheus)")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    served, triton = server
    targets = [served.inference.removeprefix("http://"), triton]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "ingrain",
                "authorization": {"credentials": secret("all")},
                "static_configs": [{"targets": targets, "labels": LABELS}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), "utf-8")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ask(prometheus: str, expression: str) -> list[dict[str, object]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["result"]


def wait_until(holds, seconds: float, meanwhile=lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            if holds():
                return
        assert time.monotonic() < deadline
        meanwhile()
        time.sleep(0.3)


def test_prometheus_answers_every_query_of_every_dashboard(server, prometheus):
    """Each gives at least one series with a number, while there are requests."""
    served, _ = server
    queries = {
        (path.stem, title): re.sub(r"\$__rate_interval", "20s", text)
        .replace("$job", "ingrain")
        .replace("$instance", ".*")
        .replace("$model", ".*")
        for path in DASHBOARDS
        for title, text in expressions(path)
    }
    missing = dict(queries)

    def are_answered() -> bool:
        for key, query in list(missing.items()):
            if any(sample["value"][1] not in ("NaN", "+Inf") for sample in ask(prometheus, query)):
                del missing[key]
        return not missing

    texts = iter(range(10_000_000))

    def send_more() -> None:
        embed(served, [f"text {next(texts)}", "one"])
        embed(served, "one", key="few")

    try:
        wait_until(are_answered, 90, send_more)
    except AssertionError:
        assert missing == {}


def test_autoscalers_get_the_tokens_that_wait(prometheus):
    """By the queries of prometheus-adapter's rules, with its placeholders filled in, and by that of KEDA's trigger."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "adapter-values.yaml").read_text("utf-8"))["rules"]
    keda = (DEPLOY / "helm" / "ingrain" / "templates" / "autoscaling.yaml").read_text("utf-8")
    trigger = re.search(r"query: (sum.+)", keda)[1]
    trigger = trigger.replace("{{ $.Release.Namespace }}", "default").replace("{{ $fullname }}", "t-ingrain")
    queries = [trigger]
    for rule in (*rules["custom"], *rules["external"]):
        assert ask(prometheus, rule["seriesQuery"]), rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.Series>>", "ingrain_queue_tokens")
        queries.append(query.replace("<<.LabelMatchers>>", 'namespace="default"').replace("<<.GroupBy>>", "pod"))
    assert [len(ask(prometheus, query)) for query in queries] == [1, 1, 1]


def test_prometheus_takes_the_rules_and_none_fires_without_reason(prometheus):
    """All are evaluated without an error."""

    def rules() -> list[dict[str, object]]:
        groups = httpx.get(f"{prometheus}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: rules() and all(rule["health"] == "ok" for rule in rules()), 60)
    assert {rule["name"] for rule in rules()} == {alert["alert"] for alert in alerts()}
    assert {rule["name"] for rule in rules() if rule["state"] == "firing"} == set()


def test_the_runtime_serves_the_folder_that_kserve_fetched_under_the_services_name(small_model, warm, tmp_path):
    """By the Open Inference Protocol, over HTTP and gRPC, with the runtime's own variables."""
    shutil.copytree(small_model, tmp_path / "mnt" / "models")
    (_, container), *_ = [found for found in containers() if found[1]["env"][0]["value"] == "/mnt"]
    variables = {one["name"]: one["value"].replace("{{.Name}}", "own-model") for one in container["env"]}
    variables["INGRAIN_LOCAL_MODELS_DIR"] = str(tmp_path / "mnt")
    port = free_port()
    with serve(
        tmp_path / "server", INGRAIN_ENGINE="onnxruntime", INGRAIN_GRPC_PORT=str(port), **variables, **warm
    ) as server:
        server.wait_until(lambda: httpx.get(f"{server.inference}/ready").status_code == 200, 240)
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a text"]}]}
        answer = httpx.post(f"{server.inference}/v2/models/own-model/infer", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        vector = answer.json()["outputs"][0]["data"]
        texts = tritonclient.grpc.InferInput("text", [1], "BYTES")
        texts.set_data_from_numpy(np.array(["a text"], dtype=object))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            over_grpc = client.infer("own-model", [texts]).as_numpy("embedding")
        np.testing.assert_allclose(over_grpc.reshape(-1), vector, atol=1e-6)
