"""The batches of a pass: realistic lengths, put together as the queue does, never beyond the limits."""

from pathlib import Path

import numpy as np
import pytest

from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from ingrain.repository.tuning import Execution, Layout
from ingrain.tuning.workload import make_batches, text_lengths
from planes import stage_model


def published(root: Path, ref: ModelRef):
    repository = Repository(root)
    repository.prepare()
    with repository.staging() as folder:
        stage_model(folder, ref)
        return repository.publish(folder).manifest


@pytest.mark.parametrize(("items", "tokens"), [(8, 256), (64, 2048), (32, 64)])
def test_texts_fill_batches_within_their_limits(tmp_path, items, tokens):
    manifest = published(tmp_path, ModelRef(name="a"))
    execution = Execution(layout=Layout(2, 1), max_items=items, max_tokens=tokens)
    batches = make_batches(manifest, manifest.graphs[0], execution, 256)
    assert sum(len(batch["input_ids"]) for batch in batches) == 256
    for batch in batches:
        assert set(batch) == {"input_ids", "attention_mask"}
        assert len(batch["input_ids"]) <= items
        assert batch["input_ids"].size <= tokens
        assert batch["input_ids"].shape[1] <= manifest.text.max_tokens


def test_lengths_are_those_of_queries_and_of_passages_and_always_the_same():
    lengths = text_lengths(1000, 512)
    assert lengths == text_lengths(1000, 512)
    assert np.percentile(lengths, 25) < 20
    assert np.percentile(lengths, 90) > 100
    assert max(text_lengths(1000, 32)) == 32
    assert text_lengths(64, 512) == lengths[:64]


def test_pictures_are_sent_in_batches_of_the_items_alone(tmp_path):
    manifest = published(tmp_path, ModelRef(name="net", library="timm"))
    execution = Execution(layout=Layout(2, 1), max_items=8)
    batches = make_batches(manifest, manifest.graphs[0], execution, 20)
    shapes = [batch["pixel_values"].shape for batch in batches]
    assert shapes == [(8, 16, 16, 3), (8, 16, 16, 3), (4, 16, 16, 3)]
    assert batches[0]["pixel_values"].dtype == np.uint8
