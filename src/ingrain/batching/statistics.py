"""Counts the batches of a batcher."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class BatcherStatistics:
    """Counts since the batcher was created; ``tokens`` excludes padding.

    The items that were looked up in the cache of rows are counted as hits, as joins (another request was computing the
    same item) or as misses. ``memory_failures`` counts the batches that failed for lack of memory.
    """

    batches: int = 0
    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    cache_hits: int = 0
    cache_joins: int = 0
    cache_misses: int = 0
    memory_failures: int = 0
    batch_sizes: dict[int, int] = field(default_factory=dict)

    def count(self, items: int, tokens: int, padded: int) -> None:
        """Count a batch of so many items and tokens, each item padded to the length ``padded``."""
        self.batches += 1
        self.items += items
        self.tokens += tokens
        self.padded_tokens += items * padded
        self.batch_sizes[items] = self.batch_sizes.get(items, 0) + 1
