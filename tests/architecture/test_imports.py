"""Importing Ingrain is cheap and does nothing: no torch where requests are served, no deed at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ingrain

PACKAGE = Path(ingrain.__file__).parent
PROBE = Path(__file__).with_name("import_probe.py")
SOURCE_LIBRARIES = {
    "torch",
    "torchvision",
    "transformers",
    "sentence_transformers",
    "open_clip",
    "timm",
    "onnx",
    "onnxscript",
}
# Loaded by Triton's Python backend, which alone provides what it imports; and `python -m ingrain` is a program.
NOT_IMPORTABLE_HERE = {"ingrain.python_backend.model", "ingrain.__main__"}
SERVING_PART_OF_EXPORT = {
    "ingrain.export",
    "ingrain.export.process.child",
    "ingrain.export.process.exporter",
    "ingrain.export.process.job",
    "ingrain.export.process.runner",
}


def modules() -> list[str]:
    """Return the dotted name of every module of the package."""
    parts = (path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    names = {".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts}
    return sorted(names - NOT_IMPORTABLE_HERE)


def serves(module: str) -> bool:
    """Return whether a module may be imported by the serving process."""
    station = module.split(".")[1:2]
    return station not in (["export"], ["testing"]) or module in SERVING_PART_OF_EXPORT


def probe(package: str, names: list[str], path: Path | None = None) -> dict[str, list[str]]:
    """Import modules in a fresh process and return what that loaded and did."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, str(PROBE), package, *names], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_serving_imports_no_torch_and_no_source_library():
    """Every module outside export and testing is imported in one process, and none brings a source library along."""
    loaded = probe("ingrain", [name for name in modules() if serves(name)])["loaded"]
    assert "httptools" in loaded
    assert "ingrain" in loaded
    assert not SOURCE_LIBRARIES & set(loaded)


def test_the_command_line_explains_itself_without_the_server():
    """`ingrain --help` must answer at once and on the bare install, so it imports neither the server nor an engine."""
    loaded = probe("ingrain", ["ingrain.cli.main"])["loaded"]
    assert not {"httptools", "onnxruntime", "tritonclient", "grpc"} & set(loaded)


@pytest.mark.slow
def test_nothing_happens_when_any_module_is_imported():
    """No module of ours writes a file, opens a socket, starts a process or reads the environment while imported."""
    assert probe("ingrain", modules())["deeds"] == []


@pytest.mark.parametrize(
    ("code", "deed"),
    [
        ("open('made', 'w').close()", "open"),
        ("import pathlib; pathlib.Path('made').mkdir()", "os.mkdir"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.environ.get('INGRAIN_HOST')", "reads INGRAIN_HOST"),
        ("import os; os.getenv('HOME')", "reads HOME"),
        ("import logging; logging.basicConfig()", "logging"),
    ],
)
def test_the_probe_notices(code, deed, tmp_path, monkeypatch):
    """The probe that found nothing above does find each kind of deed in a module that commits it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "naughty.py").write_text(code, encoding="utf-8")
    deeds = probe("naughty", ["naughty"], tmp_path)["deeds"]
    assert any(deed in line for line in deeds), deeds
