"""Metrics of Tritons on the server's own scrape: with their addresses, and never for longer than a second."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from test_counts import NoModels

from ingrain.errors import SettingsError
from ingrain.server.plane.telemetry import Load, Telemetry
from ingrain.server.plane.triton_metrics import TritonMetrics
from ingrain.settings import load_settings
from picture_server import PictureServer, answer

TEXT = b"""# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{model="a",version="1"} 7.000000
# HELP nv_cpu_utilization CPU utilization rate
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.25
# TYPE other_metric gauge
other_metric 1
"""


async def silent(writer):
    await asyncio.sleep(30)


async def scraped(*urls: str, accept: str = "") -> str:
    text, _ = await Telemetry(NoModels(), Load(), tritons=TritonMetrics(urls)).prometheus(accept, [], is_ready=True)
    return text.decode()


@pytest.mark.parametrize(
    ("accept", "parse"), [("", text_string_to_metric_families), ("application/openmetrics-text", open_metrics)]
)
async def test_the_metrics_of_each_triton_have_its_address(accept, parse):
    async with (
        PictureServer(replies={"/metrics": answer(TEXT)}) as one,
        PictureServer(replies={"/metrics": answer(TEXT)}) as other,
    ):
        text = await scraped(one.url("/metrics"), other.url("/metrics"), accept=accept)
    samples = [sample for family in parse(text) for sample in family.samples]
    counts = {sample.labels["triton"]: sample.value for sample in samples if sample.name == "nv_inference_count"}
    assert counts == {f"127.0.0.1:{host.port}": 7.0 for host in (one, other)}
    assert {sample.value for sample in samples if sample.name == "ingrain_triton_scraped"} == {1.0}
    assert sum(sample.name == "nv_cpu_utilization" for sample in samples) == 2
    assert "other_metric" not in text


@pytest.mark.parametrize(
    "reply", [silent, answer(TEXT, status=500), answer(b"nv_x{ 1\n"), answer(b"nv_x 1 # \xff\xff")]
)
async def test_a_triton_that_does_not_tell_is_said_so(reply):
    async with (
        PictureServer(replies={"/metrics": reply}) as host,
        PictureServer(replies={"/metrics": answer(TEXT)}) as well,
    ):
        began = time.monotonic()
        text = await scraped(host.url("/metrics"), well.url("/metrics"))
        assert time.monotonic() - began < 5
    assert f'ingrain_triton_scraped{{triton="127.0.0.1:{host.port}"}} 0.0' in text
    assert f'ingrain_triton_scraped{{triton="127.0.0.1:{well.port}"}} 1.0' in text
    assert "nv_inference_count{" in text


def test_a_url_of_metrics_needs_a_scheme():
    with pytest.raises(SettingsError, match="INGRAIN_TRITON_METRICS_URL"):
        load_settings({}, {"INGRAIN_TRITON_METRICS_URL": "triton:8002/metrics"})
