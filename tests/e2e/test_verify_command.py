"""`ingrain verify`: a stored model is what its source computes, and a changed one is found out."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from documents import examples
from processes import MINILM, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(small_models, warm, tmp_path_factory):
    """The repository of a server that serves a small model under the real one's name, while it is proved."""
    folder = tmp_path_factory.mktemp("verify")
    flags = (f"--local-models-dir={small_models}", f"--models={MINILM}", "--engine=onnxruntime")
    with serve(folder, *flags, **warm) as server:
        server.wait_until_ready(600)
        yield folder / "repository"


@pytest.fixture(scope="module")
def verify(warm):
    """Run `ingrain verify` on a repository, with the sources of a directory of local models."""

    def run(repository, local_models, *arguments: str) -> subprocess.CompletedProcess:
        flags = [f"--repository={repository}", f"--local-models-dir={local_models}"]
        command = [sys.executable, "-m", "ingrain", "verify", *arguments, *flags]
        return subprocess.run(command, env={**os.environ, **warm}, capture_output=True, text=True, timeout=280)

    return run


def test_a_stored_model_is_proved_again_and_nothing_is_changed(verify, repository, small_models):
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    done = verify(repository, small_models, MINILM, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    proof = report["verification"]["text_encoder"]
    assert (report["name"], report["proved"], report["code"]) == (MINILM, True, [])
    assert 0 < proof["max_abs_diff"] < proof["tolerance"] == 1e-4
    assert proof["cases"] > 50
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_a_model_that_differs_from_its_source_is_found_out(verify, repository, small_models, tmp_path):
    """The source's weights are not those of the graph any more."""
    shutil.copytree(small_models, tmp_path / "models")
    weights = tmp_path / "models" / MINILM / "model.safetensors"
    tensors = load_file(weights)
    tensors["embeddings.LayerNorm.weight"] = tensors["embeddings.LayerNorm.weight"] * np.float32(1.02)
    save_file(tensors, weights, metadata={"format": "pt"})
    done = verify(repository, tmp_path / "models", MINILM)
    assert done.returncode == 1
    assert "differ from the source library's by up to" in done.stderr
    assert done.stdout == ""


def test_a_damaged_file_is_found_out(verify, repository, small_models, tmp_path):
    shutil.copytree(repository, tmp_path / "repository")
    (graph,) = (tmp_path / "repository" / "triton").glob("*/1/model.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    done = verify(tmp_path / "repository", small_models, MINILM, "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["code"] == "damaged_entry"


def test_what_is_not_there_is_told(verify, repository, small_models):
    done = verify(repository, small_models, "nope")
    assert done.returncode == 1
    assert "'nope' is not in the repository" in done.stderr


def test_the_example_of_the_command_lines_page_runs(repository, small_models, warm):
    """`ingrain verify` as docs/cli.md shows it, told by the environment where things are."""
    (line,) = examples("docs/cli.md", "sh", "Verify")
    environment = {
        **os.environ,
        **warm,
        "INGRAIN_REPOSITORY": str(repository),
        "INGRAIN_LOCAL_MODELS_DIR": str(small_models),
    }
    code = f'ingrain() {{ "{sys.executable}" -m ingrain "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{MINILM} (sentence_transformers) is what its source library computes.")
