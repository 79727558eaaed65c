"""Prompts and output types of an exported model are those of sentence-transformers itself."""

import httpx
import numpy as np
import pytest

from ingrain.export.precision.calibration_texts import calibration_texts
from texts import sentences
from tiny_models import build_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MODEL = "prompted"
PROMPTS = {"query": "search for: ", "passage": "passage: ", "classification": "Classify the text: "}
TEXTS = ["a river runs to the sea", "", "stone"]


@pytest.fixture(scope="module")
def source(local_models):
    """A small model that leaves its prompts out of pooling, as the source library has it."""
    folder = build_pipeline(
        local_models / MODEL,
        modules=[("Pooling", {"pooling_mode": "mean", "include_prompt": False})],
        prompts=PROMPTS,
        default_prompt_name="classification",
    )
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def prompted(source, server):
    """The shared server with that model loaded."""
    assert server.load(MODEL).status_code == 200
    yield server
    deleted = httpx.request("DELETE", f"{server.model}/delete_model", json={"name": MODEL}, timeout=60)
    assert deleted.status_code == 200


def embed(server, texts, **fields):
    answer = server.embed(texts, name=MODEL, **fields)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["embeddings"])


def test_each_way_of_choosing_a_prompt_gives_the_source_s_vectors(prompted, source):
    """Encode with its default, with none, by name and free; encode_query; encode_document: prompt out of pooling."""
    pairs = [
        ({}, source.encode(TEXTS)),
        ({"prompt": ""}, source.encode(TEXTS, prompt="")),
        ({"promptName": "passage"}, source.encode(TEXTS, prompt_name="passage")),
        ({"prompt": "about: "}, source.encode(TEXTS, prompt="about: ")),
        ({"inputType": "query"}, source.encode_query(TEXTS)),
        ({"inputType": "document"}, source.encode_document(TEXTS)),
        ({"inputType": "query", "promptName": "passage"}, source.encode_query(TEXTS, prompt_name="passage")),
        ({"inputType": "document", "prompt": "about: "}, source.encode_document(TEXTS, prompt="about: ")),
    ]
    for fields, truth in pairs:
        served = embed(prompted, TEXTS, normalize=False, **fields)
        assert np.abs(served - truth).max() < 1e-4, fields
    assert np.abs(pairs[0][1] - pairs[1][1]).max() > 0.01, "the prompts must matter"
    assert np.abs(pairs[4][1] - pairs[5][1]).max() > 0.01


def test_a_prompt_longer_than_the_model_takes_is_as_the_source_has_it(prompted, source):
    """The whole text is cut away; whatever the source makes of that is answered."""
    prompt = "river " * 200
    served = embed(prompted, TEXTS, normalize=False, prompt=prompt)
    assert np.abs(served - source.encode(TEXTS, prompt=prompt)).max() < 1e-4


def test_the_names_are_the_source_s(prompted, source):
    answer = prompted.embed("river", name=MODEL, promptName="absent")
    assert answer.status_code == 400
    assert answer.json()["error"]["promptNames"] == sorted(source.prompts)


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("dimensions", [None, 20])
def test_output_types_are_those_of_quantize_embeddings(prompted, source, kind, dimensions):
    """Calibrated on the sample that was embedded at export, with the model's default prompt as `encode` has it."""
    from sentence_transformers.util import quantize_embeddings

    form = {"normalize_embeddings": True, "truncate_dim": dimensions}
    texts = sentences()[:50]
    truth = quantize_embeddings(
        source.encode(texts, **form),
        precision=kind,
        calibration_embeddings=source.encode(calibration_texts(), **form),
    )
    served = embed(prompted, texts, outputDtype=kind, nDims=dimensions)
    # Numbers equal to 1e-6 may fall on both sides of a bucket's edge, or of zero.
    assert (served != truth).mean() < 0.01
    if kind.endswith("int8"):
        assert np.abs(served - truth.astype(int)).max() <= 1


def test_int8_vectors_of_the_real_model_find_the_same_neighbours(server, source_model):
    """By the ranges of the sample, on texts of another kind."""
    texts = sentences()[:200]
    served = np.array(server.embed(texts, outputDtype="int8").json()["embeddings"], np.float32)
    truth = source_model.encode(texts)
    nearest = []
    for rows in (served / np.linalg.norm(served, axis=1, keepdims=True), truth):
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -1)
        nearest.append(cosines.argmax(axis=1))
    assert (nearest[0] == nearest[1]).mean() > 0.8
