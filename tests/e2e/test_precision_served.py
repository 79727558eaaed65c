"""The real model served in int8 by the embedded Triton, in the place of its float32 graph."""

from functools import partial

import httpx
import numpy as np
import onnx
import pytest

from ingrain.export.precision.choose import FLOORS
from ingrain.repository.checksums import check_files
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from processes import MINILM, serve
from texts import sentences, word_similarity

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def embed(server, texts):
    return np.array(server.embed(texts).json()["embeddings"], np.float32)


def check_published(repository):
    """Look at what is stored: proved above its floors, not moved by padding, and smaller than float32."""
    stored = repository.find(model_key(MINILM, "sentence_transformers"))
    proof, floors = stored.manifest.verification["text_encoder"], FLOORS["int8"]
    assert stored.manifest.precision == "int8"
    assert proof.mean_cosine >= floors.mean_cosine == proof.mean_cosine_floor
    assert proof.min_cosine >= floors.min_cosine == proof.min_cosine_floor
    assert proof.padding_diff < 1e-5
    for graph in stored.manifest.graphs:
        check_files(repository.graph_folder(graph.name), graph.files, contents=True)
        assert graph.files[0].size_bytes < 70e6  # 90 MB in float32
        kinds = [node.op_type for node in onnx.load(str(repository.locate_graph(graph))).graph.node]
        # The fastest way: each of the 24 values that are rounded has a scale that was measured before.
        assert (kinds.count("QuantizeLinear"), kinds.count("ReduceMax")) == (24, 0)


def test_a_model_that_serves_is_replaced_by_its_int8_graph(ready_repository, local_models, warm):
    """Cosines to float32, WordSim-353 within 0.01, the same vector alone and among others, and fp16 a 400."""
    texts = sentences()[:1200:8]
    flags = (f"--local-models-dir={local_models}",)
    with serve(ready_repository, *flags, INSTANCE_KIND="KIND_CPU", **warm) as server:
        server.wait_until_ready()
        before, similarity = embed(server, texts), word_similarity(partial(embed, server))
        refused = server.load(MINILM, precision="fp16")
        assert refused.status_code == 400
        assert "needs a GPU" in refused.json()["message"]
        answer = server.load(MINILM, precision="int8")
        assert answer.status_code == 200, answer.text
        (model,) = httpx.get(f"{server.model}/loaded_models").json()["models"]
        assert model["precision"] == "int8"
        check_published(Repository(ready_repository / "repository"))
        after = embed(server, texts)
        cosines = (before * after).sum(axis=1)
        assert cosines.mean() >= 0.992
        assert 0.98 <= cosines.min() < 0.9999  # it is another graph
        assert abs(word_similarity(partial(embed, server)) - similarity) <= 0.01
        alone = np.concatenate([embed(server, text) for text in texts[:12]])
        assert np.abs(alone - after[:12]).max() < 1e-5
