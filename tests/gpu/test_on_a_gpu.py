"""The real model on this machine's GPU: vectors, half precision, and that it is the GPU which computes them."""

import subprocess
from functools import partial

import httpx
import numpy as np
import onnx
import pytest

from ingrain.python_backend import cuda
from processes import MINILM, place_minilm, serve
from texts import sentences, word_similarity

WHY_NOT = cuda.why_unusable()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"needs a GPU that graphs can run on: {WHY_NOT}"),
]

TEXTS = sentences()[:1200:6]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return place_minilm(tmp_path_factory.mktemp("local-models"))


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A server that finds out by itself that there is a GPU."""
    with serve(tmp_path_factory.mktemp("server"), f"--local-models-dir={models}") as server:
        answer = server.load(MINILM)
        assert answer.status_code == 200, answer.text
        yield server


@pytest.fixture(scope="module")
def truth(models):
    """What the source library computes on the CPU."""
    import torch

    from ingrain.export.process import torchvision_shim

    torch.set_num_threads(2)
    torchvision_shim.install()
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(models / MINILM), device="cpu").encode(TEXTS)


def embed(server, texts):
    return np.array(server.embed(texts).json()["embeddings"], np.float32)


def processes_on_the_gpu():
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return {int(pid) for pid in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()}


def operators(server):
    """Return the operators of the published graph that are ONNX Runtime's own."""
    (path,) = (server.log.parent / "repository" / "triton").glob("*/1/model.onnx")
    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return {node.op_type for node in nodes if node.domain == "com.microsoft"}


def test_float32_vectors_are_the_sources(server, truth):
    """TensorFloat-32, which CUDA's libraries would use by themselves, misses by 2e-4."""
    ours = embed(server, TEXTS)
    assert np.abs(ours - truth).max() < 1e-5
    alone = np.concatenate([embed(server, text) for text in TEXTS[:8]])
    assert np.abs(alone - ours[:8]).max() < 1e-5


def test_it_is_the_gpu_that_computes(server):
    stubs = {child.pid for child in server.children("triton_python_backend_stub")}
    assert stubs
    assert stubs <= processes_on_the_gpu()


def test_the_graph_has_few_large_operators(server):
    assert operators(server) & {"Attention", "MultiHeadAttention", "SkipLayerNormalization"}


def test_int8_is_refused(server):
    answer = server.load(MINILM, precision="int8")
    assert answer.status_code == 400
    assert "for CPUs" in answer.json()["message"]


def test_in_half_precision_the_vectors_stay(models, truth, tmp_path):
    """Cosines to float32, WordSim-353 within 0.01, and nearly the same vector alone and among others."""
    with serve(tmp_path, f"--local-models-dir={models}") as server:
        assert server.load(MINILM).status_code == 200
        similarity = word_similarity(partial(embed, server))
        answer = server.load(MINILM, precision="fp16")
        assert answer.status_code == 200, answer.text
        (model,) = httpx.get(f"{server.model}/loaded_models").json()["models"]
        assert model["precision"] == "fp16"
        ours = embed(server, TEXTS)
        cosines = (ours * truth).sum(axis=1) / np.linalg.norm(ours, axis=1)
        assert cosines.mean() >= 0.9999
        assert cosines.min() >= 0.999
        assert 1e-6 < np.abs(ours - truth).max() < 1e-2  # it is another graph
        assert abs(word_similarity(partial(embed, server)) - similarity) <= 0.01
        alone = np.concatenate([embed(server, text) for text in TEXTS[:8]])
        assert np.abs(alone - ours[:8]).max() < 2e-3


def test_without_triton_graphs_run_on_the_gpu_too(models, truth, tmp_path):
    flags = (f"--local-models-dir={models}", "--engine=onnxruntime")
    with serve(tmp_path, *flags) as server:
        assert server.load(MINILM).status_code == 200
        assert np.abs(embed(server, TEXTS) - truth).max() < 1e-5
        assert server.process.pid in processes_on_the_gpu()


def test_on_the_cpu_if_that_is_asked_for(models, truth, tmp_path):
    with serve(tmp_path, f"--local-models-dir={models}", "--instance-kind=KIND_CPU") as server:
        assert server.load(MINILM).status_code == 200
        assert np.abs(embed(server, TEXTS[:8]) - truth[:8]).max() < 1e-5
        assert not {child.pid for child in server.children("triton_python_backend_stub")} & processes_on_the_gpu()
        assert not operators(server)
