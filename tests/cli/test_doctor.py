"""`ingrain doctor`: it finds what is broken, names the cure, and says so by its exit status."""

import json
import socket

import pytest

from hub_server import HubServer
from ingrain.cli.main import main
from ingrain.python_backend import cuda
from keys_files import entry, write_keys


@pytest.fixture
def doctor(monkeypatch, tmp_path, capsys):
    """Examine this machine under settings that are well but for what a test changes; return findings by subject."""
    for name, value in (
        ("INGRAIN_REPOSITORY", str(tmp_path / "repository")),
        ("INGRAIN_INFERENCE_PORT", "0"),
        ("INGRAIN_MODEL_PORT", "0"),
        ("INGRAIN_MAX_REQUESTS", "16"),
        ("HF_HUB_OFFLINE", "1"),
    ):
        monkeypatch.setenv(name, value)

    def examine(**environment: str) -> tuple[int, dict[str, dict]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status = main(["doctor", "--json"])
        printed, complained = capsys.readouterr()
        assert complained == ""
        report = json.loads(printed)
        assert report["healthy"] is (status == 0)
        return status, {finding["subject"]: finding for finding in report["findings"]}

    return examine


def test_a_machine_that_is_well_is_told_what_would_run(doctor, capsys):
    status, found = doctor()
    assert status == 0
    assert found["engine"]["detail"].startswith("the embedded Triton, ")
    assert found["ingrain[serve]"]["status"] == found["ingrain[export]"]["status"] == "ok"
    assert found["inference port 0"]["detail"] == "free"
    assert "GB free" in found["repository"]["detail"]
    assert "cores" in found["CPU"]["detail"]
    assert main(["doctor"]) == 0
    assert "`ingrain serve` should work here." in capsys.readouterr().out


@pytest.mark.parametrize("plane", ["model", "grpc"])
def test_a_port_that_another_program_has_is_a_failure(doctor, plane):
    setting = f"INGRAIN_{plane.upper()}_PORT"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        status, found = doctor(**{setting: port})
    assert status == 1
    assert found[f"{plane} port {port}"]["status"] == "failure"
    assert setting in found[f"{plane} port {port}"]["cure"]


def test_variables_that_are_no_settings_are_warnings(doctor):
    status, found = doctor(INGRAIN_MODLE_PORT="8687")
    assert (status, found["settings"]["status"]) == (0, "warning")
    assert "INGRAIN_MODEL_PORT" in found["settings"]["detail"]


def test_a_repository_that_cannot_be_written_is_a_failure(doctor, tmp_path):
    (tmp_path / "file").write_text("no folder")
    status, found = doctor(INGRAIN_REPOSITORY=str(tmp_path / "file" / "repository"))
    assert (status, found["repository"]["status"]) == (1, "failure")
    assert "INGRAIN_REPOSITORY" in found["repository"]["cure"]


def test_graphs_of_another_program_are_told_of(doctor, tmp_path):
    """Those of Ingrain are not, nor links to them."""
    for folder in ("intfloat_e5-small-v2", "triton/resnet", "triton/e5-0123456789.text_encoder"):
        (tmp_path / "repository" / folder).mkdir(parents=True)
        (tmp_path / "repository" / folder / "config.pbtxt").touch()
    (tmp_path / "repository" / "e5-0123456789.text_encoder").symlink_to("triton/e5-0123456789.text_encoder")
    status, found = doctor()
    assert (status, found["other graphs"]["status"]) == (0, "note")
    assert found["other graphs"]["detail"].endswith(": intfloat_e5-small-v2, resnet")


def test_a_triton_that_does_not_listen_is_a_failure(doctor):
    status, found = doctor(TRITON_GRPC_URL="127.0.0.1:1")
    assert (status, found["engine"]["status"]) == (1, "failure")
    assert "TRITON_GRPC_URL" in found["engine"]["cure"]
    with socket.create_server(("127.0.0.1", 0)) as triton:
        status, found = doctor(TRITON_GRPC_URL=f"127.0.0.1:{triton.getsockname()[1]}")
    assert (status, found["engine"]["status"]) == (0, "ok")


def test_each_of_several_tritons_is_told_of(doctor):
    """One is enough to serve; the others are warnings."""
    with socket.create_server(("127.0.0.1", 0)) as triton:
        there = f"127.0.0.1:{triton.getsockname()[1]}"
        status, found = doctor(TRITON_GRPC_URL=f"{there},127.0.0.1:1")
    assert (status, found["engine"]["status"]) == (0, "ok")
    assert found["engine"]["detail"] == f"the Tritons at {there}, 127.0.0.1:1"
    assert (found[f"Triton {there}"]["status"], found["Triton 127.0.0.1:1"]["status"]) == ("ok", "warning")
    status, found = doctor(TRITON_GRPC_URL="127.0.0.1:1,127.0.0.1:2")
    assert (status, found["engine"]["status"]) == (1, "failure")
    status, found = doctor(TRITON_GRPC_URL="127.0.0.1:1,nowhere")
    assert (status, found["engine"]["cure"]) == (1, "Change TRITON_GRPC_URL.")


def test_an_engine_that_cannot_be_used_is_a_failure(doctor):
    status, found = doctor(INGRAIN_ENGINE="triton")
    assert (status, found["engine"]["status"]) == (1, "failure")
    status, found = doctor(INGRAIN_ENGINE="onnxruntime")
    assert (status, found["engine"]["detail"].startswith("ONNX Runtime in the server's process")) == (0, True)


def test_a_setting_that_cannot_be_used_is_a_failure(doctor):
    status, found = doctor(MAX_BATCH_SIZE="many")
    assert (status, set(found)) == (1, {"Ingrain", "settings"})
    assert "MAX_BATCH_SIZE" in found["settings"]["detail"]


def test_a_gpu_that_is_wanted_and_not_there_is_a_failure(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor()[1]["GPU"]["status"] == "note"
    status, found = doctor(INSTANCE_KIND="KIND_GPU")
    assert (status, found["GPU"]["status"]) == (1, "failure")
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB'\n")
    smi.chmod(0o755)
    monkeypatch.setattr(cuda, "gpu_names", lambda: ("NVIDIA H100",))
    assert doctor()[1]["GPU"]["status"] == "failure"
    status, found = doctor(INSTANCE_KIND="KIND_AUTO")
    assert (status, found["GPU"]["status"]) == (0, "warning")
    assert "onnxruntime-gpu" in found["GPU"]["detail"]
    monkeypatch.setattr(cuda, "has_provider", lambda: True)
    status, found = doctor()
    assert (status, found["GPU"]["detail"]) == (0, "NVIDIA H100, 81559 MiB")


def test_a_hub_that_cannot_be_reached_is_a_warning(doctor, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    status, found = doctor(HF_ENDPOINT="http://127.0.0.1:1")
    assert (status, found["hub"]["status"]) == (0, "warning")
    assert "INGRAIN_LOCAL_MODELS_DIR" in found["hub"]["cure"]
    with HubServer() as hub:
        status, found = doctor(HF_ENDPOINT=hub.url)
    assert (status, found["hub"]["status"]) == (0, "ok")


def test_an_open_server_without_keys_and_too_few_files_are_warnings(doctor):
    status, found = doctor(INGRAIN_HOST="0.0.0.0", INGRAIN_MAX_REQUESTS="100000000")
    assert (status, found["keys"]["status"], found["open files"]["status"]) == (0, "warning", "warning")
    _, found = doctor(INGRAIN_API_KEYS="a-secret-word")
    assert found["keys"] == {"subject": "keys", "status": "ok", "detail": "set", "cure": None}
    assert "a-secret-word" not in json.dumps(found)


async def test_a_running_server_is_recognised(ingrain, planes, monkeypatch):
    monkeypatch.setenv("INGRAIN_INFERENCE_PORT", str(planes.inference.base_url.port))
    monkeypatch.setenv("INGRAIN_MODEL_PORT", str(planes.model.base_url.port))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, printed, _ = await ingrain("doctor", "--json")
    details = [finding["detail"] for finding in json.loads(printed)["findings"]]
    assert details.count("an Ingrain server answers here") == 2


def test_a_certificate_file_that_cannot_be_read_is_a_failure(doctor, tmp_path):
    path = str(tmp_path / "missing.pem")
    status, found = doctor(INGRAIN_TLS_CERT_FILE=path, INGRAIN_TLS_KEY_FILE=path)
    assert (status, found["TLS certificate"]["status"]) == (1, "failure")
    assert "INGRAIN_TLS_CERT_FILE" in found["TLS certificate"]["cure"]


def test_the_keys_file_is_looked_at(doctor, tmp_path):
    path = write_keys(tmp_path / "keys.json", entry("a"), entry("late", expires="2026-01-01"))
    _, found = doctor(INGRAIN_KEYS_FILE=str(path), INGRAIN_HOST="0.0.0.0")
    assert found["keys"]["status"] == "ok"
    assert (found["keys file"]["status"], found["keys file"]["detail"]) == ("note", "2 in it, expired: late")
    path.write_text("{")
    status, found = doctor()
    assert (status, found["keys file"]["status"]) == (1, "failure")
