"""A server with a model of each kind on the fake engine, for tests of other APIs' dialects."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np

from images import encode, scene
from ingrain.settings import Settings
from planes import WIDTH, FakeExport, Planes, running_planes

TEXTS = ["red", "green blue", ""]
QUERY, DOCUMENTS = "red", ["green", "blue", "red green"]
LONG = "red " * 60
PICTURE = "data:image/png;base64," + base64.b64encode(encode(scene(20, 12), "PNG")).decode()

_KINDS = {
    "dense": {"library": "sentence_transformers"},
    "reranker": {"library": "sentence_transformers", "task": "rerank"},
    "classifier": {"library": "sentence_transformers", "task": "classify"},
    "clip": {"library": "open_clip"},
    "sparse": {"library": "sentence_transformers", "task": "embed_sparse"},
    "bge-m3": {"library": "sentence_transformers"},
    "org/timm": {"library": "timm"},
}


@asynccontextmanager
async def running_models(folder: Path, *names: str, **settings: object) -> AsyncIterator[Planes]:
    """Run both planes with some of the models of ``_KINDS``."""
    export = FakeExport(sample=np.random.default_rng(1).normal(size=(50, WIDTH)).astype(np.float32))
    async with running_planes(folder, Settings(**settings), export=export) as planes:
        for name in names:
            answer = await planes.model.post("/load_model", json={"name": name, **_KINDS[name]})
            assert answer.status_code == 200, answer.text
        yield planes


async def ask(planes: Planes, path: str, **body: object) -> dict[str, object]:
    """Return the JSON of an answer with status 200."""
    answer = await planes.inference.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(planes: Planes, path: str, **body: object) -> httpx.Response:
    """Return an answer with a status of 4xx."""
    answer = await planes.inference.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    return answer


async def native_vectors(planes: Planes, texts: list[str], name: str = "dense", **fields: object) -> np.ndarray:
    """Return the vectors of texts by Ingrain's own API."""
    return np.array((await ask(planes, "/embed_text", name=name, text=texts, **fields))["embeddings"])


async def native_image(planes: Planes, image: str = PICTURE) -> np.ndarray:
    """Return the vector of an image by Ingrain's own API."""
    return np.array((await ask(planes, "/embed_image", name="clip", image=image))["embeddings"][0])


async def native_ranking(planes: Planes, **fields: object) -> dict[int, float]:
    """Return the score of each of ``DOCUMENTS`` by its index, best first, by Ingrain's own API."""
    found = await ask(planes, "/rerank", name="reranker", query=QUERY, documents=DOCUMENTS, **fields)
    return {one["index"]: one["score"] for one in found["results"]}


async def native_classes(planes: Planes, texts: list[str], **fields: object) -> list[dict[str, float]]:
    """Return the score of each label for each text by Ingrain's own API."""
    found = await ask(planes, "/classify_text", name="classifier", text=texts, **fields)
    return [{one["label"]: one["score"] for one in labels} for labels in found["results"]]
