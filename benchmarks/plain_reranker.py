"""A simple reranker for comparison: FastAPI and ``CrossEncoder``, one ``rank`` at a time on all cores.

Runs in the environment of the other servers (see ``rivals.py``), not in Ingrain's.
"""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder


class Query(BaseModel):
    """Request body."""

    query: str
    documents: list[str]


def make_app(model: CrossEncoder) -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    # ``async``, because FastAPI would run forty plain functions at once, each with as many threads as cores.
    @app.post("/rerank")
    async def rerank(body: Query) -> dict[str, list[dict[str, int | float]]]:
        scores = model.predict([(body.query, document) for document in body.documents], show_progress_bar=False)
        ranked = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
        return {"results": [{"index": index, "relevance_score": score} for index, score in ranked]}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = make_app(CrossEncoder(options.model, device="cpu"))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
