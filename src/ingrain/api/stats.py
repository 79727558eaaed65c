"""The answer of ``GET /stats``: what the server did in the last second, ten seconds and minute."""

from __future__ import annotations

from ingrain.api.types import Answer


class ModelRates(Answer, frozen=True, kw_only=True):
    """What was done for one model, a second, within a window; cached texts are items, but in no batch.

    Attributes:
        name: Name of the model.
        requests_per_s: Answered tasks; a request is one task as a rule.
        items_per_s: Texts, images or pairs of those.
        tokens_per_s: Tokens that the engine computed, without padding.
        p50_ms: Half of the requests took no longer; at most a fifth off. None without requests.
        p99_ms: 99 % of the requests took no longer; likewise.
        mean_batch_items: Items in a batch on average; None without batches.
        padding_share: Share of padding in the tokens that the engine computed; None without batches.
        cache_hit_share: Share of the texts that were in the cache, or computed for another request at that moment, of
            those that were looked up; None if none was.
    """

    name: str
    requests_per_s: float
    items_per_s: float
    tokens_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    mean_batch_items: float | None
    padding_share: float | None
    cache_hit_share: float | None


class WindowStats(Answer, frozen=True, kw_only=True):
    """The models that did anything within a window of so many seconds."""

    seconds: int
    models: list[ModelRates]


class QueueState(Answer, frozen=True, kw_only=True):
    """The tokens that wait for one graph now; ``name`` is the model's name, with a role if it has several graphs."""

    name: str
    waiting_tokens: int


class StatsAnswer(Answer, frozen=True, kw_only=True):
    """Rates of all processes of the server together, and what is in progress now."""

    in_progress: int
    queues: list[QueueState]
    windows: list[WindowStats]
