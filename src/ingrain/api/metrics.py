"""The engine's statistics in the JSON of ``GET /metrics``."""

from __future__ import annotations

from ingrain.api.types import Answer, Keyed


class DurationStat(Keyed, frozen=True):
    """Number of events and their total duration; numbers are strings, as in Triton's JSON."""

    count: str
    ns: str


class BatchStat(Answer, frozen=True, kw_only=True):
    """Executions of one batch size."""

    batch_size: str
    compute_input: DurationStat
    compute_infer: DurationStat
    compute_output: DurationStat


class InferenceStat(Keyed, frozen=True):
    """Durations of the stages of inference."""

    success: DurationStat | None
    fail: DurationStat | None
    queue: DurationStat | None
    compute_input: DurationStat | None
    compute_infer: DurationStat | None
    compute_output: DurationStat | None
    cache_hit: DurationStat | None
    cache_miss: DurationStat | None


class ModelStat(Answer, frozen=True, kw_only=True):
    """The engine's statistics of one graph, under the user's name of the model."""

    name: str
    version: str
    last_inference: str | None
    inference_count: str | None
    execution_count: str | None
    inference_stats: InferenceStat
    batch_stats: list[BatchStat] | None


class MetricsAnswer(Answer, frozen=True, kw_only=True):
    """The engine's statistics."""

    model_stats: list[ModelStat]
