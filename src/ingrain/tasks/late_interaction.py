"""Scores documents for a query by late interaction of their tokens' vectors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, Rows
from ingrain.postprocess.token_vectors import late_interaction
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import EmbedTokens
from ingrain.vocabulary import InputType

# Of so many documents and characters the vectors are held at a time, twice: about 50,000 of them.
_MOST_DOCUMENTS = 256
_MOST_CHARS = 200_000


async def score_by_late_interaction(
    pipeline: Pipeline, name: ModelName, query: Texts, documents: Texts
) -> tuple[Rows, Sequence[TokenizedText]]:
    """Score documents as ``MultiVectorEncoder.similarity`` does.

    Args:
        pipeline: Runs the tasks.
        name: A late-interaction model.
        query: The query, one text; its prompt, if any, takes the place of the model's prompt for queries. Its
            truncation is that of the documents, too.
        documents: The documents.

    Returns:
        The scores, float32 ``[N]``, and the tokenized documents.
    """
    started = time.monotonic()
    documents = msgspec.structs.replace(documents, truncate=query.truncate, cut_side=query.cut_side)
    asked = await pipeline.run(_of(name, query, "query"), started=started)
    function = (await pipeline.model(name)).manifest.late_interaction or "maxsim"
    scores: list[Rows] = []
    items: list[TokenizedText] = []
    running: asyncio.Task[tuple[Rows, Sequence[TokenizedText]]] | None = None

    async def score(part: Texts) -> tuple[Rows, Sequence[TokenizedText]]:
        done = await pipeline.run(_of(name, part, "document"), started=started)
        return late_interaction(asked.rows[0], list(done.rows), function), done.items

    try:
        for part in [*_parts(documents), None]:
            following = asyncio.create_task(score(part)) if part is not None else None
            before, running = running, following
            if before is not None:
                found, tokenized = await before
                scores.append(found)
                items += tokenized
    finally:
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    return np.concatenate(scores), items


def _of(name: ModelName, texts: Texts, side: InputType) -> EmbedTokens:
    """Return the task that embeds queries or documents."""
    given = texts.prompt
    prompt = PromptChoice(
        text=given.text if given is not None else None,
        name=given.name if given is not None else None,
        input_type=side,
    )
    texts = msgspec.structs.replace(texts, prompt=prompt, cache_group=None)
    return EmbedTokens(name, texts, side=side, is_answer=False)


def _parts(documents: Texts) -> Iterator[Texts]:
    """Cut documents into parts of limited size; their names for errors stay."""
    first = chars = 0
    for index, text in enumerate(documents.texts):
        if index > first and (index - first == _MOST_DOCUMENTS or chars + len(text) > _MOST_CHARS):
            yield _part(documents, first, index)
            first, chars = index, 0
        chars += len(text)
    yield _part(documents, first, len(documents.texts))


def _part(documents: Texts, first: int, end: int) -> Texts:
    return msgspec.structs.replace(documents, texts=documents.texts[first:end], places=range(first, end))
