"""Several outputs and several vectors of a text through both clients, against real planes in this process."""

import numpy as np
import pytest

from planes import WIDTH


@pytest.fixture
async def m3(connect):
    """A client that returns arrays, with a model of three outputs loaded."""
    api = connect(return_numpy=True)
    await api.load_model("bge-m3", "sentence_transformers")
    return api


@pytest.mark.both_clients
async def test_no_texts_give_an_empty_result_of_each_requested_output(m3):
    outputs = ["dense", "sparse", "multiVector"]
    one = await m3.embed_text("bge-m3", ["red"], outputs=outputs)
    assert one.embeddings.shape == (1, WIDTH)
    assert one.sparse_embeddings[0].indices.dtype == np.int32
    assert one.multi_vector_embeddings[0].shape == (2, WIDTH)
    none = await m3.embed_text("bge-m3", [], outputs=outputs)
    assert (len(none.embeddings), none.sparse_embeddings, none.multi_vector_embeddings) == (0, [], [])
    assert (await m3.embed_text("bge-m3", [], outputs=["sparse"])).multi_vector_embeddings is None


@pytest.mark.both_clients
async def test_arrays_may_be_changed_in_place(m3):
    """Also those of a stream, and of several vectors of a text."""
    several = await m3.embed_multi_vector("bge-m3", ["red", "green w1"])
    parts = [part async for part in m3.stream("stream_text", "bge-m3", ["red", "green"])]
    for rows in (*several.embeddings, parts[0].embeddings):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
