"""A simple server for comparison: FastAPI and ``SparseEncoder``, one ``encode`` at a time on all cores."""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from ingrain.export.process import torchvision_shim

torchvision_shim.install()

from sentence_transformers import SparseEncoder  # noqa: E402  # behind the shim


class Texts(BaseModel):
    """Request body."""

    text: str | list[str]


def make_app(model: SparseEncoder) -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ready": True}

    # ``async``, because FastAPI would run forty plain functions at once, each with as many threads as cores.
    @app.post("/embed_sparse")
    async def embed(body: Texts) -> dict[str, list[dict[str, list]]]:
        texts = [body.text] if isinstance(body.text, str) else body.text
        rows = model.encode_document(texts, show_progress_bar=False)
        found = [row.coalesce() for row in rows]
        return {
            "embeddings": [{"indices": row.indices()[0].tolist(), "values": row.values().tolist()} for row in found]
        }

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = make_app(SparseEncoder(options.model, device="cpu"))
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
