"""The counters of named API keys as Prometheus's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from ingrain.server.keys.counts import KeyCounts


def key_metrics(keys: Mapping[str, KeyCounts]) -> Iterator[Metric]:
    """Return the metrics of keys by their names; the name of requests without a valid key is empty."""
    if not keys:
        return
    requests = CounterMetricFamily("ingrain_key_requests", "Requests answered, by key.", labels=["key", "status"])
    tokens = CounterMetricFamily("ingrain_key_tokens", "Tokens of the texts of a key's requests.", labels=["key"])
    refusals = CounterMetricFamily(
        "ingrain_key_refusals",
        "Requests refused because of the key: unknown, expired, scope, model, requests_per_minute, tokens_per_minute.",
        labels=["key", "reason"],
    )
    for name, counts in keys.items():
        for status, count in counts.answers.items():
            requests.add_metric([name, str(status)], count)
        if name:
            tokens.add_metric([name], counts.tokens)
        for reason, count in counts.refusals.items():
            refusals.add_metric([name, reason], count)
    yield from (requests, tokens, refusals)
