"""An engine that is no part of Ingrain: one module and one entry in the table, and requests are served by it."""

import os
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

import toy_engine
from ingrain.app.placement import placement_of
from ingrain.app.run import check_workers
from ingrain.engine.table import ENGINES
from ingrain.errors import SettingsError
from ingrain.repository.desired import ModelRef
from ingrain.repository.store import Repository
from ingrain.settings import Settings
from planes import ids_of, stage_model
from processes import serve

_SERVE = """
from ingrain.app.run import run
from ingrain.app.tables import Tables
from ingrain.engine.table import ENGINES
from ingrain.settings import load_settings
from toy_engine import ENGINES as TOYS

run(load_settings(), Tables(engines={**ENGINES, **TOYS}))
"""


@pytest.fixture
def server(tmp_path):
    """A server process with the toy's table, and a stored model whose graph no ONNX Runtime could read."""
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    with repository.staging() as folder:
        stage_model(folder, ModelRef(name="org/model"))
        repository.publish(folder)
    with serve(
        tmp_path,
        command=("-c", _SERVE),
        INGRAIN_ENGINE="toy",
        INGRAIN_REPOSITORY=str(repository.root),
        INGRAIN_MODELS="org/model",
        INGRAIN_INFERENCE_PORT="0",
        INGRAIN_MODEL_PORT="0",
        PYTHONPATH=os.pathsep.join([str(Path(toy_engine.__file__).parent), *sys.path]),
    ) as server:
        yield server


def test_an_engine_from_outside_embeds_texts_over_http(server):
    server.wait_until_ready(60)
    texts = ["red green", "blue", "red red red green"]
    answer = server.embed(texts, "org/model", normalize=False)
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(answer.json()["embeddings"], [toy_engine.toy_vector(ids_of(text)) for text in texts])
    metrics = httpx.get(f"{server.inference}/metrics").text
    assert "org/model" in metrics


def test_what_its_entry_says_of_it_holds_everywhere():
    """It is taken when it is named, shares no process with workers, and is no choice where it is not registered."""
    engines = {**ENGINES, **toy_engine.ENGINES}
    placement = placement_of(Settings(engine="toy"), engines)
    assert (placement.identity, placement.description, placement.on_this_cpu) == ("toy", "a toy", True)
    with pytest.raises(SettingsError, match=r"INGRAIN_WORKERS is 2, but graphs run on a toy"):
        check_workers(Settings(engine="toy", workers=2), placement)
    with pytest.raises(SettingsError, match="one of auto, triton, embedded, onnxruntime, toy"):
        placement_of(Settings(engine="top"), engines)
    with pytest.raises(SettingsError, match="INGRAIN_ENGINE"):
        placement_of(Settings(engine="toy"))
