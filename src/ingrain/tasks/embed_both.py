"""Embeds texts and images of one request concurrently."""

from __future__ import annotations

import asyncio

from ingrain.pipeline.pipeline import Pipeline
from ingrain.postprocess.quantize import AnyVectors
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.item_limit import check_count


async def embed_both(
    pipeline: Pipeline, texts: EmbedTexts | None, images: EmbedImages | None
) -> tuple[EmbeddedTexts | None, AnyVectors | None]:
    """Return the vectors of texts and of images; if one task fails, the other is cancelled."""
    if texts is not None and images is not None:
        check_count(len(texts) + len(images), pipeline.limits.max_items, "text", "texts and images")
    try:
        async with asyncio.TaskGroup() as group:
            text_rows = group.create_task(pipeline.run(texts)) if texts is not None else None
            image_rows = group.create_task(pipeline.run(images)) if images is not None else None
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
    return (text_rows.result() if text_rows else None, image_rows.result() if image_rows else None)
