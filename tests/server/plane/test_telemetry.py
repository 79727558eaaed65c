"""Latencies as we count them are what prometheus_client's own histogram says."""

import random

from prometheus_client import CollectorRegistry, Histogram

from ingrain.server.plane.prometheus import cumulative
from ingrain.server.plane.rates import LATENCY_BUCKETS_S
from ingrain.server.plane.telemetry import Latencies


def test_latencies_are_counted_as_the_library_counts_them():
    ours, registry = Latencies(), CollectorRegistry()
    theirs = Histogram("seconds", "As ours.", buckets=LATENCY_BUCKETS_S, registry=registry)
    numbers = random.Random(3)
    for seconds in [*LATENCY_BUCKETS_S, 0.0, 1000.0, *(10 ** numbers.uniform(-4, 2.5) for _ in range(500))]:
        ours.observe(seconds)
        theirs.observe(seconds)
    for bound, count in cumulative(ours.counts):
        assert registry.get_sample_value("seconds_bucket", {"le": bound}) == count
    assert registry.get_sample_value("seconds_sum") == ours.total_s
