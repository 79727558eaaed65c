"""Requests that unmodified clients of other APIs have sent, replayed on the fake engine.

Each file in ``recorded/`` holds the requests of one client, a list of objects:

- ``method``, ``path`` (with its query), ``headers`` (those that matter) and ``body`` (JSON; a text is sent as it is).
  The key is written ``KEY``; the models are called as in ``MODELS`` here, and ``dense`` has 384 dimensions.
- ``status``: that of the response, 200 by default.
- ``answer``: what the client got, of which the shape is compared (see ``holds``). Leave it out where shapes vary.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from ingrain.settings import Settings
from planes import FakeExport, running_planes

RECORDED = Path(__file__).parent / "recorded"
WIDTH = 384
MODELS = (
    {"name": "dense", "library": "sentence_transformers"},
    {"name": "reranker", "library": "sentence_transformers", "task": "rerank"},
    {"name": "sparse", "library": "sentence_transformers", "task": "embed_sparse"},
    {"name": "classifier", "library": "sentence_transformers", "task": "classify"},
    {"name": "clip", "library": "open_clip"},
)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def planes(tmp_path_factory):
    """Both planes with a model of each kind, of which those that embed have the width of a real one."""
    settings = Settings(
        default_models=tuple(model["name"] for model in MODELS),
        model_aliases=("embed-english-v3.0=dense",),  # a name that LlamaIndex has to send
    )
    export = FakeExport(sample=np.random.default_rng(1).normal(size=(50, WIDTH)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planes.WIDTH", WIDTH)
        async with running_planes(tmp_path_factory.mktemp("planes"), settings, export=export) as planes:
            for model in MODELS:
                answer = await planes.model.post("/load_model", json=model)
                assert answer.status_code == 200, answer.text
            yield planes


def holds(answer, recorded) -> bool:
    """Return whether JSON has what clients rely on: at least the recorded fields, with values of the same types."""
    if isinstance(recorded, dict):
        return isinstance(answer, dict) and all(
            name in answer and holds(answer[name], recorded[name]) for name in recorded
        )
    if isinstance(recorded, list):
        return isinstance(answer, list) and all(map(holds, answer[:1], recorded[:1]))
    if type(recorded) in (int, float):
        return type(answer) in (int, float)
    return type(answer) is type(recorded)


@pytest.mark.parametrize("client", sorted(path.stem for path in RECORDED.glob("*.json")))
async def test_the_requests_of_a_client_are_answered_as_it_expects(planes, client):
    for exchange in json.loads((RECORDED / f"{client}.json").read_text(encoding="utf-8")):
        given = exchange.get("body")
        content = given if given is None or isinstance(given, str) else json.dumps(given)
        headers = {"content-type": "application/json"} | exchange.get("headers", {})
        sent = f"{exchange['method']} {exchange['path']} {str(given)[:200]}"
        answer = await planes.inference.request(exchange["method"], exchange["path"], content=content, headers=headers)
        assert answer.status_code == exchange.get("status", 200), f"{sent}: {answer.text[:500]}"
        if "answer" in exchange:
            assert holds(answer.json(), exchange["answer"]), f"{sent}: {answer.text[:500]}"
