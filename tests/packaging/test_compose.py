"""The Compose files, without an engine: what they wire together, and that Compose itself can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingrain.app.placement import placement_of
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.settings import describe, load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CPU_OVERRIDE = ROOT / "docker-compose.cpu.yml"
CPU_LINE = re.compile(r"^(    )(<<: \*gpu .*comment this line out)$", re.MULTILINE)


# Fixed inside the container: Compose maps the ports and mounts the volumes.
REPOSITORY = {"INGRAIN_REPOSITORY", "INGRAIN_REPOSITORY_CACHE", "INGRAIN_REPOSITORY_CACHE_BYTES"}
INSIDE = {"INGRAIN_HOST", "INGRAIN_INFERENCE_PORT", "INGRAIN_MODEL_PORT", *REPOSITORY}
# Read by the exporter, by the hub's client, and by OpenTelemetry.
NOT_SETTINGS = {"INGRAIN_EXPORT_THREADS", "HF_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's tag `!reset`, which takes away what an earlier file said."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: None)


def read(text: str) -> dict[str, Any]:
    """Parse a Compose file, with `${NAME:-default}` replaced by the default."""
    return yaml.load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text), ComposeLoader)


@pytest.fixture(scope="module")
def services():
    return read(COMPOSE.read_text(encoding="utf-8"))["services"]


def test_triton_runs_as_the_engine_needs_it(services):
    """A pinned image, models loaded one by one on our word, and no bad model may end or mute the server."""
    triton = services["triton"]
    assert re.fullmatch(r"nvcr\.io/nvidia/tritonserver:\d\d\.\d\d-py3", triton["image"])
    assert set(triton["command"]) == {
        "tritonserver",
        "--model-repository=/repository/triton",
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        "--exit-on-error=false",
        "--disable-auto-complete-config",
    }
    assert [port.rpartition(":")[2] for port in triton["ports"]] == ["8000", "8001", "8002"]
    assert triton["shm_size"]
    assert triton["environment"] == {"NVIDIA_TF32_OVERRIDE": 0}


def test_the_gpu_is_the_default_and_one_line_takes_it_away():
    """Triton reserves the GPUs; with the marked line commented out, or under the CPU file, nothing asks for one."""
    text = COMPOSE.read_text(encoding="utf-8")
    devices = read(text)["services"]["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    without, lines = CPU_LINE.subn(r"\1# \2", text)
    assert lines == 1
    assert "deploy" not in read(without)["services"]["triton"]
    override = read(CPU_OVERRIDE.read_text(encoding="utf-8"))
    assert override["services"]["triton"] == {"deploy": None}
    assert "deploy: !reset" in CPU_OVERRIDE.read_text(encoding="utf-8")


def test_both_see_one_repository_and_only_ingrain_writes_it(services):
    """Graphs lie at the same path in both containers; Triton's view is read-only."""
    assert "repository:/repository" in services["ingrain"]["volumes"]
    assert "repository:/repository:ro" in services["triton"]["volumes"]
    assert "cache:/cache" in services["ingrain"]["volumes"]
    assert set(read(COMPOSE.read_text(encoding="utf-8"))["volumes"]) == {"repository", "cache", "tensorrt"}


def test_tensorrt_keeps_its_engines_where_the_models_say(services):
    """The folder that config.pbtxt names for built engines is a volume of Triton's, and Triton's user owns it."""
    folder = ExecutionPolicy().tensorrt_cache_dir
    assert f"tensorrt:{folder}" in services["triton"]["volumes"]
    assert services["triton"]["user"] == "1000:1000"
    assert folder in services["repository"]["entrypoint"]


def test_the_folders_exist_and_belong_to_the_user_before_anything_starts(services):
    """Triton stays dead if its folder is missing at its start, so a step before both makes it, owned by uid 1000."""
    first = services["repository"]
    assert first["entrypoint"][:4] == ["install", "--directory", "--owner=1000", "--group=1000"]
    assert {"/repository", "/repository/triton", "/cache"} <= set(first["entrypoint"][4:])
    assert first["restart"] == "no"
    for name in ("triton", "ingrain"):
        assert services[name]["depends_on"]["repository"] == {"condition": "service_completed_successfully"}
    assert services["ingrain"]["depends_on"]["triton"] == {"condition": "service_healthy"}


def test_the_environment_is_what_the_server_reads(services):
    """Every setting is passed on, and those with a value give usable settings that lead to Triton."""
    given = services["ingrain"]["environment"]
    known = {setting.env for setting in describe()}
    assert set(given) == known - INSIDE | NOT_SETTINGS
    settings = load_settings(environ={name: str(value) for name, value in given.items() if value is not None})
    assert settings.triton_grpc_url == "triton:8001"
    assert settings.max_batch_size == 0  # what a tuning has found, else 32


def test_without_a_gpu_a_copy_of_a_graph_gets_one_thread(monkeypatch):
    """The CPU file says KIND_CPU; then each copy gets one thread, as in the embedded Triton."""
    monkeypatch.setattr("ingrain.engine.placement.usable_cores", lambda: 2)
    services = read(CPU_OVERRIDE.read_text(encoding="utf-8"))["services"]
    variables = {"TRITON_GRPC_URL": "triton:8001", **services["ingrain"]["environment"]}
    policy = placement_of(load_settings(environ=variables)).policy
    assert (policy.instance_kind, policy.instances, policy.threads) == ("KIND_CPU", 2, 1)


def test_the_server_starts_as_the_user_whom_the_first_service_gives_the_folders(services):
    """Without capabilities the entry point could not change the user."""
    assert services["ingrain"]["user"] == "1000:1000"


@pytest.mark.parametrize("name", ["triton", "ingrain"])
def test_a_service_is_watched_restarted_and_confined(services, name):
    """Health check, restart policy, no new privileges, no capabilities, and ports on the loopback interface only."""
    service = services[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_server_cannot_write_its_own_image(services):
    """Ingrain's root is read-only; what it writes goes to the volumes and to /tmp."""
    assert services["ingrain"]["read_only"] is True
    assert services["ingrain"]["tmpfs"] == ["/tmp"]
    assert [port.rpartition(":")[2] for port in services["ingrain"]["ports"]] == ["8686", "8687"]


def compose_command() -> list[str] | None:
    """Return how Compose is called here, or None."""
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    return [binary] if (binary := shutil.which("docker-compose")) else None


@pytest.mark.parametrize("cpu", [False, True], ids=["gpu", "one line commented out"])
def test_compose_itself_accepts_the_file(cpu, tmp_path):
    """`config` resolves the file, in any Compose that is installed here, and keeps the three services."""
    command = compose_command()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed here")
    text = COMPOSE.read_text(encoding="utf-8")
    file = tmp_path / "docker-compose.yml"
    file.write_text(CPU_LINE.sub(r"\1# \2", text) if cpu else text, encoding="utf-8")
    done = subprocess.run([*command, "-f", str(file), "config"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)["services"]
    assert set(resolved) == {"repository", "triton", "ingrain"}
    assert ("deploy" in resolved["triton"]) is not cpu
