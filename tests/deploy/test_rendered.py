"""What Helm renders of the chart, with every topology and option: valid, confined, and fitting together."""

from __future__ import annotations

import itertools
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_schemas import faults, versions

from ingrain.app.placement import placement_of
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.settings import load_settings
from pods.rendered import CHART, Object, containers, render, selects, workloads

EXAMPLES = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((CHART / "examples").glob("*.yaml"))}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "apart, on a claim that exists": {
        "topology": "apart",
        "repository": {"storage": "claim", "existingClaim": "models"},
        "settings": {"INGRAIN_IMAGE_FETCH": "public", "INGRAIN_REQUEST_TIMEOUT_S": 7.5},
        "triton": {"args": ["--log-verbose=1"], "env": [{"name": "A", "value": "b"}], "podLabels": {"pool": "gpu"}},
        "monitoring": {"serviceMonitor": True},
    },
    "together, one volume": {"repository": {"storage": "claim", "accessModes": ["ReadWriteOnce"]}},
    "alone, before another Triton": {
        "topology": "alone",
        "settings": {"TRITON_GRPC_URL": "triton.elsewhere:8001"},
        "autoscaling": {"kind": "keda"},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
    },
}
ALL = {**EXAMPLES, **OPTIONS}


@pytest.fixture(scope="module")
def rendered(helm):
    """A function that renders one of the sets of values, once."""

    @cache
    def objects(name: str) -> tuple[Object, ...]:
        return tuple(render(helm, ALL[name]))

    return objects


def of_kind(objects, kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def variables(objects) -> dict[str, str]:
    """Return the server's variables that are written down."""
    (deployment,) = of_kind(objects, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in server["env"] if "value" in one}


@pytest.mark.parametrize("name", [*EXAMPLES, "defaults"])
def test_helm_finds_nothing_to_say(helm, name):
    flags = ["--values", str(CHART / "examples" / f"{name}.yaml")] if name in EXAMPLES else []
    done = subprocess.run([helm, "lint", "--strict", str(CHART), *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_object_fits_the_schemas_of_every_kubernetes_that_the_chart_is_for(rendered):
    """From 1.31 to the newest that is known; the custom resources against schemas of our own."""
    if not versions():
        pytest.skip("the schemas are not here: `make deploy-tools` fetches them")
    seen = {repr(one): one for name in ALL for one in rendered(name)}
    assert {"ScaledObject", "HTTPRoute", "ServiceMonitor", "Ingress"} <= {one["kind"] for one in seen.values()}
    assert [fault for version in versions() for one in seen.values() for fault in faults(one, version)] == []


def test_a_misspelled_field_would_be_found(rendered):
    """In Kubernetes' own objects as in custom resources."""
    if not versions():
        pytest.skip("the schemas are not here: `make deploy-tools` fetches them")
    for kind, broken in (("Deployment", {"minReadySecond": 1}), ("ServiceMonitor", {"endpoint": []})):
        one = of_kind(rendered("production"), kind)[0]
        assert faults({**one, "spec": {**one["spec"], **broken}}, versions()[-1])


@pytest.mark.parametrize("name", ALL)
def test_names_and_labels_are_those_of_the_conventions(rendered, name):
    """Each object has the recommended labels, and no two of a kind have one name."""
    objects = rendered(name)
    for one in objects:
        labels = one["metadata"]["labels"]
        for key in ("name", "instance", "version", "component", "managed-by"):
            assert labels[f"app.kubernetes.io/{key}"]
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)


@pytest.mark.parametrize("name", ALL)
def test_no_container_has_a_privilege(rendered, name):
    """Not root, no capability, the default seccomp, a root that cannot be written, no token of the API."""
    for workload in workloads(rendered(name)):
        spec = workload.spec
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 1000
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in containers(spec):
            names = [one["name"] for one in container.get("env", ())]
            assert len(set(names)) == len(names), "a server-side apply refuses one that comes twice"
            security = container["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("name", ALL)
def test_mounts_have_volumes_and_ports_have_names(rendered, name):
    """Volumes, ports of services, probes and claims all lead somewhere; numbers of services' ports are the pods'."""
    objects = rendered(name)
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    for workload in workloads(objects):
        volumes = {volume["name"] for volume in workload.spec["volumes"]}
        mounted = {m["name"] for c in containers(workload.spec) for m in c.get("volumeMounts", ())}
        assert mounted == volumes
        for volume in workload.spec["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            assert not claim.startswith("t-ingrain") or claim in claims
    for service in of_kind(objects, "Service"):
        chosen = [one for one in workloads(objects) if selects(service["spec"]["selector"], one.labels)]
        assert len(chosen) == 1, "a service leads to the pods of one workload"
        ports = {p["name"]: p["containerPort"] for c in containers(chosen[0].spec) for p in c.get("ports", ())}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    assert not any(
        selects(s["spec"]["selector"], one.labels)
        for s in of_kind(objects, "Service")
        for one in workloads(objects)
        if one.kind == "Pod"
    ), "the test's pod is no endpoint"


@pytest.mark.parametrize("name", ALL)
def test_the_server_reads_its_variables(rendered, name):
    """They are usable settings; numbers keep their digits."""
    given = variables(rendered(name))
    settings = load_settings(environ=given)
    for variable, value in ALL[name].get("settings", {}).items():
        assert given[variable] == (str(value).lower() if isinstance(value, bool) else str(value))
    assert settings.models == tuple(ALL[name].get("models", ()))


@pytest.mark.parametrize("name", ALL)
def test_a_pod_is_killed_only_after_the_server_had_its_time(rendered, name):
    """The grace period holds what comes before SIGTERM, the requests' time, and some seconds; Triton's likewise."""
    objects = rendered(name)
    for workload in workloads(objects):
        if workload.kind == "Pod":
            continue
        (main,) = workload.spec["containers"]
        before = main["lifecycle"]["preStop"]["sleep"]["seconds"]
        if workload.kind == "Deployment":
            own = load_settings(environ=variables(objects)).shutdown_timeout_s
        else:
            option = next(word for word in main["args"] if word.startswith("--exit-timeout-secs="))
            own = int(option.partition("=")[2])
        assert workload.spec["terminationGracePeriodSeconds"] >= before + own + 10


@pytest.mark.parametrize("name", ALL)
def test_probes_ask_what_they_mean(rendered, name):
    """Only /health restarts the server; only readiness asks /ready; TLS and INGRAIN_ALLOWED_HOSTS do not break them."""
    objects = rendered(name)
    (deployment,) = of_kind(objects, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    scheme = "HTTPS" if "INGRAIN_TLS_CERT_FILE" in variables(objects) else "HTTP"
    for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        get = server[probe]["httpGet"]
        assert (get["path"], get["scheme"], get["port"]) == (path, scheme, "inference")
        assert get["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_triton_is_a_sidecar_that_only_its_pod_reaches(rendered):
    """It starts first and ends last; without authentication it listens on the pod's loopback."""
    (workload,) = [one for one in workloads(rendered("defaults")) if one.kind == "Deployment"]
    folders, triton = workload.spec["initContainers"]
    assert folders["command"] == ["mkdir", "-p", "/repository/triton"]
    assert triton["restartPolicy"] == "Always"
    assert {"--grpc-address=127.0.0.1", "--http-address=127.0.0.1"} <= set(triton["args"])
    assert [port["name"] for port in triton["ports"]] == ["triton-metrics"]
    assert variables(rendered("defaults"))["TRITON_GRPC_URL"] == "127.0.0.1:8001"


def test_apart_the_headless_name_leads_to_every_triton(rendered):
    objects = rendered("gpu-pool")
    assert variables(objects)["TRITON_GRPC_URL"] == "t-ingrain-triton:8001"
    (triton,) = of_kind(objects, "StatefulSet")
    (service,) = [one for one in of_kind(objects, "Service") if one["metadata"]["name"] == "t-ingrain-triton"]
    assert service["spec"]["clusterIP"] == "None"
    assert triton["spec"]["serviceName"] == "t-ingrain-triton"
    (container,) = triton["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["repository"]["readOnly"] is True
    assert mounts["tensorrt"]["mountPath"] == ExecutionPolicy().tensorrt_cache_dir
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["NVIDIA_TF32_OVERRIDE"] == "0"


def test_graphs_are_sent_where_nothing_is_shared(rendered):
    """Triton's root is then an empty folder, which exists at its start."""
    (triton,) = of_kind(rendered("graphs-sent"), "StatefulSet")
    spec = triton["spec"]["template"]["spec"]
    assert "initContainers" not in spec
    assert {"name": "no-graphs", "emptyDir": {}} in spec["volumes"]


@pytest.mark.parametrize(("cores", "instances", "threads"), [("1", 1, 1), (3, 3, 1), ("8", 4, 2), ("1500m", 1, 1)])
def test_without_a_gpu_a_graph_gets_the_cores_of_tritons_container(helm, cores, instances, threads):
    """The server would count those of its own container."""
    given = variables(render(helm, {"triton": {"resources": {"limits": {"cpu": cores}}}}))
    policy = placement_of(load_settings(environ=given)).policy
    assert (policy.instance_kind, policy.instances, policy.threads) == ("KIND_CPU", instances, threads)


@pytest.mark.parametrize(("cpu", "threads"), [("3", "3"), (2, "2"), ("2500m", None)])
def test_a_conversion_takes_the_cores_of_its_container(helm, cpu, threads):
    """It would take those of the node; a variable of the user's own wins."""
    assert variables(render(helm, {"resources": {"limits": {"cpu": cpu}}})).get("INGRAIN_EXPORT_THREADS") == threads
    own = {"env": [{"name": "INGRAIN_EXPORT_THREADS", "value": "1"}]}
    assert variables(render(helm, {"resources": {"limits": {"cpu": cpu}}, **own}))["INGRAIN_EXPORT_THREADS"] == "1"


def test_a_model_of_half_precision_is_served_where_there_is_a_gpu(helm):
    placement = placement_of(load_settings(environ=variables(render(helm, {"gpu": {"count": 1}}))))
    assert placement.on_a_gpu


def peers(policy: Object, direction: str) -> list[tuple[Any, Any]]:
    """Return pairs of a peer and a port that a policy allows."""
    key = {"ingress": "from", "egress": "to"}[direction]
    rules = policy["spec"][direction]
    return [(peer, port["port"]) for rule in rules for peer, port in itertools.product(rule[key], rule["ports"])]


def test_what_is_not_named_is_denied(rendered):
    """The model plane is reached by nobody, Triton by front ends alone; the hub and pictures open the way out."""
    for name in ALL:
        objects = rendered(name)
        policies = of_kind(objects, "NetworkPolicy")
        if name == "alone, before another Triton":
            assert policies == []
            continue
        for policy in policies:
            assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        front = policies[0]
        operators = [peer for peer, port in peers(front, "ingress") if port == "models"]
        assert bool(operators) == bool(ALL[name].get("networkPolicy", {}).get("operators"))
        ways_out = {port for peer, port in peers(front, "egress") if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"}
        settings = load_settings(environ=variables(objects))
        expected = set() if settings.hub_offline else {443}
        expected |= {80, 443} if settings.image_fetch != "off" else set()
        assert ways_out == expected
        if (triton := next(iter(of_kind(objects, "StatefulSet")), None)) is not None:
            assert policies[1]["spec"]["egress"] == []
            (peer,) = [peer for peer, port in peers(policies[1], "ingress") if port == "grpc"]
            servers = next(one for one in workloads(objects) if one.kind == "Deployment")
            assert selects(peer["podSelector"]["matchLabels"], servers.labels)
            assert not selects(peer["podSelector"]["matchLabels"], triton["spec"]["template"]["metadata"]["labels"])


def test_no_key_is_written_down(rendered):
    """Keys and tokens come from Secrets that exist."""
    objects = rendered("production")
    assert of_kind(objects, "Secret") == []
    text = yaml.safe_dump(list(objects))
    assert "INGRAIN_API_KEYS_FILE" in text
    (deployment,) = of_kind(objects, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    token = next(one for one in server["env"] if one["name"] == "HF_TOKEN")
    assert token["valueFrom"] == {"secretKeyRef": {"name": "hub-token", "key": "token"}}


def test_autoscaling_follows_the_tokens_that_wait(rendered):
    """By HPA or KEDA, for the pods that compute; then no number of replicas is written down."""
    (hpa,) = of_kind(rendered("production"), "HorizontalPodAutoscaler")
    assert hpa["spec"]["metrics"][0]["pods"]["metric"]["name"] == "ingrain_queue_tokens"
    (deployment,) = of_kind(rendered("production"), "Deployment")
    assert "replicas" not in deployment["spec"]
    server, triton = of_kind(rendered("gpu-pool"), "ScaledObject")
    assert server["spec"]["triggers"][0]["type"] == "cpu"
    query = triton["spec"]["triggers"][0]["metadata"]
    assert query["query"] == 'sum(ingrain_queue_tokens{namespace="default",service="t-ingrain"})'
    assert query["threshold"] == "200000"
    front, pool = of_kind(rendered("graphs-sent"), "HorizontalPodAutoscaler")
    assert front["spec"]["metrics"][0]["type"] == "ContainerResource"
    assert pool["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"settings": {"INGRAIN_API_KEYS": "secret"}}, "INGRAIN_API_KEYS"),
        ({"settings": {"INGRAIN_MAX_ITEM": 1}}, "INGRAIN_MAX_ITEM"),
        ({"settings": {"INGRAIN_WORKERS": 0}}, "INGRAIN_WORKERS"),
        ({"replica": 2}, "replica"),
        ({"apiKeys": {"inferKey": "one"}}, "existingSecret"),
        ({"topology": "apart", "repository": {"storage": "claim", "accessModes": ["ReadWriteOnce"]}}, "ReadWriteMany"),
        ({"settings": {"TRITON_GRPC_URL": "a:1"}}, "topology to alone"),
        ({"env": [{"name": "INGRAIN_LOG_FORMAT", "value": "text"}]}, "INGRAIN_LOG_FORMAT"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
        (
            {"monitoring": {"serviceMonitor": True}, "settings": {"INGRAIN_ALLOWED_HOSTS": "a.example"}},
            "INGRAIN_ALLOWED_HOSTS",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_installed(helm, values, says):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(helm, values)
    assert says in refused.value.stderr


def test_the_notes_say_where_to_go_on(helm, tmp_path):
    """They need no cluster: a dry run on the client prints them."""
    command = [helm, "install", "t", str(CHART), "--dry-run=client", "--namespace", "default"]
    nowhere = {"HOME": str(tmp_path), "PATH": "/usr/bin", "KUBECONFIG": "/dev/null"}
    done = subprocess.run(command, capture_output=True, text=True, env=nowhere)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "http://t-ingrain.default.svc:8686" in notes
    assert "There are no API keys" in notes


def test_the_folder_of_examples_is_not_part_of_the_package():
    assert "examples/" in (CHART / ".helmignore").read_text(encoding="utf-8")
    assert Path(CHART / "examples" / "production.yaml").exists()
