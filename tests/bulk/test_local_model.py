"""A model of the repository in this process gives what a server gives."""

import queue
import shutil
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from bulk_repository import IMAGE_MODEL, TEXT_MODEL, expected_vectors, numbered
from graphs import write_text_graph
from images import encode, scene
from ingrain.bulk.local_model import LocalModel
from ingrain.bulk.wanted import Wanted
from ingrain.errors import DamagedEntryError, EngineUnavailableError, IngrainError, ModelNotFoundError, TextTooLongError


@pytest.fixture
def opened(repository):
    models = []

    def make(threads: int = 1, **wanted) -> LocalModel:
        models.append(LocalModel(Wanted(**wanted), repository=repository, threads=threads))
        return models[-1]

    yield make
    for model in models:
        model.close()


def test_vectors_are_those_of_the_graph_in_the_order_of_the_texts(opened):
    texts = ["", *numbered(2500), "日本語 w3"]  # more than a chunk, of many lengths
    found = opened(model=TEXT_MODEL, threads=2).embed(texts)
    np.testing.assert_allclose(found.rows, expected_vectors(texts), atol=1e-6)
    plain = opened(model=TEXT_MODEL, normalize=False, dimensions=3).embed(texts[:9])
    np.testing.assert_allclose(plain.rows, expected_vectors(texts[:9], normalize=False)[:, :3], atol=1e-6)


def test_prompts_and_number_types_are_applied(opened):
    found = opened(model=TEXT_MODEL, prompt="w1 ").embed(["w2"])
    np.testing.assert_allclose(found.rows, expected_vectors(["w1 w2"]), atol=1e-6)
    bits = opened(model=TEXT_MODEL, output_dtype="ubinary").embed(["w2"]).rows
    assert (bits.dtype, bits.tolist()) == (np.uint8, np.packbits(expected_vectors(["w2"]) > 0, axis=-1).tolist())


def test_an_error_names_the_text_counted_from_the_first(opened):
    model = opened(model=TEXT_MODEL, truncate=False)
    with pytest.raises(TextTooLongError, match=r"text\[1102\]"):
        model.embed([*["w1"] * 1100, "w1 " * 99], first=2)
    assert len(model.embed(["w1"]).rows) == 1  # and the model goes on


def test_what_is_asked_while_the_model_is_closed_ends(opened):
    """A job whose row is bad closes the model while other parts begin; none may wait for ever."""
    for number in range(8):
        model, ends = opened(model=TEXT_MODEL), queue.SimpleQueue()

        def ask(model=model, ends=ends) -> None:
            try:
                while True:
                    model.embed(["w1", "w2"])
            except (IngrainError, CancelledError) as error:
                ends.put(error)

        for _ in range(3):
            threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.01 * number)
        model.close()
        for _ in range(3):
            ends.get(timeout=60)
        with pytest.raises(EngineUnavailableError, match="closed"):
            model.embed(["w1"])


def test_images_come_as_bytes_and_a_bad_one_may_be_skipped(opened):
    good = encode(scene(20, 12), "PNG")
    urls = ["http://127.0.0.1:9/x.png", "http://10.0.0.1/x.png"]  # no address that a server fetches from
    found = opened(model=IMAGE_MODEL, items="images", skip_bad_images=True).embed([good, b"none", good, *urls])
    assert (found.rows.shape, list(found.bad)) == ((2, 3), [1, 3, 4])
    np.testing.assert_array_equal(found.rows[0], found.rows[1])
    with pytest.raises(IngrainError, match=r"image\[1\]"):
        opened(model=IMAGE_MODEL, items="images").embed([good, b"none"])


def test_a_model_that_is_not_there_is_told_with_the_way_out(opened):
    with pytest.raises(ModelNotFoundError, match="ingrain serve"):
        opened(model="org/other")


def test_weights_that_are_not_those_of_the_manifest_give_no_vectors(repository, tmp_path):
    """A node's copy of the repository may be damaged, and its wrong vectors would be among the good ones."""
    copy = shutil.copytree(repository, tmp_path / "repository")
    (graph,) = (copy / "triton").glob("org-words-*/1/model.onnx")
    size = graph.stat().st_size
    write_text_graph(graph, seed=1)
    assert graph.stat().st_size == size
    with pytest.raises(DamagedEntryError):
        LocalModel(Wanted(model=TEXT_MODEL), repository=copy)
