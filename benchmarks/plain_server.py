"""A simple server for comparison: FastAPI and sentence-transformers, one ``encode`` at a time on all cores.

Runs in the environment of the other servers (see ``rivals.py``), not in Ingrain's.
"""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Texts(BaseModel):
    """Request body."""

    input: list[str]


def make_app(model: SentenceTransformer) -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    # ``async``, because FastAPI would run forty plain functions at once, each with as many threads as cores.
    @app.post("/embed")
    async def embed(texts: Texts) -> dict[str, list[list[float]]]:
        return {"embeddings": model.encode(texts.input, normalize_embeddings=True, show_progress_bar=False).tolist()}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = make_app(SentenceTransformer(options.model, device="cpu"))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
