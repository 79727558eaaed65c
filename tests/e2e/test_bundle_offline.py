"""A bundle of the real model serves where there is no network at all, with the vectors of the server that made it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from processes import MINILM

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("without_network.py")
NAMESPACE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")


def ingrain(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ingrain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def bundle(stored, tmp_path_factory):
    file = tmp_path_factory.mktemp("bundle") / "models.bundle"
    made = ingrain("bundle", MINILM, "-o", str(file), f"--repository={stored / 'repository'}")
    assert made.returncode == 0, made.stderr
    return file


@pytest.mark.skipif(subprocess.call([*NAMESPACE, "true"]) != 0, reason="no network namespace may be made here")
def test_a_bundle_serves_without_a_network(bundle, server, tmp_path):
    paths = os.pathsep.join([str(PROGRAM.parents[1] / "support"), *sys.path])
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(PROGRAM), str(tmp_path), str(bundle)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["interfaces"] == ["lo"]
    status, answer = told["embedded"]
    assert status == 200
    expected = server.embed(["A cat sleeps.", "A kitten naps."]).json()
    assert np.allclose(answer["embeddings"], expected["embeddings"], atol=1e-5)
    for name, said in {"unknown": "Offline mode", "custom": "INGRAIN_OFFLINE"}.items():
        status, answer = told[name]
        assert 400 <= status < 500, told[name]
        assert said in answer["message"]


def test_the_command_checks_a_bundle_and_finds_a_changed_one(bundle, tmp_path):
    checked = ingrain("bundle", "--verify", str(bundle), "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["models"] == [MINILM]
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.bundle").write_bytes(content)
    for command in (("bundle", "--verify"), ("serve", "--bundle")):
        refused = ingrain(*command, str(tmp_path / "changed.bundle"), f"--repository={tmp_path}")
        assert refused.returncode in (1, 2), refused.stderr
        assert "checksum" in refused.stderr
    assert not list(tmp_path.glob("models/*"))
