"""Fetches the metrics of Tritons for a scrape of the server's own."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.parse
from collections.abc import Iterator, Sequence

import httpcore
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

_WAIT_S = 1.0
_MOST_BYTES = 8 * 1024 * 1024
_OWN = "nv_"

log = logging.getLogger("ingrain.server")


class TritonMetrics:
    """The metrics of Tritons, each with the label ``triton``, its address.

    Args:
        urls: URL of each Triton's metrics.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._silent: set[str] = set()

    async def fetch(self) -> list[Metric]:
        """Return the metrics; a Triton that does not send them within a second has 0 in ``ingrain_triton_scraped``."""
        if not self._urls:
            return []
        answers = await asyncio.gather(*map(self._of_one, self._urls))
        scraped = GaugeMetricFamily(
            "ingrain_triton_scraped", "1 if a Triton sent its metrics for this scrape, else 0.", labels=["triton"]
        )
        seconds = GaugeMetricFamily(
            "ingrain_triton_scrape_seconds", "Seconds that fetching a Triton's metrics took.", labels=["triton"]
        )
        found: dict[str, Metric] = {}
        for url, (families, took_s) in zip(self._urls, answers, strict=True):
            address = urllib.parse.urlsplit(url).netloc
            scraped.add_metric([address], families is not None)
            seconds.add_metric([address], took_s)
            for metric in families or ():
                if metric.name in found:
                    found[metric.name].samples += metric.samples
                else:
                    found[metric.name] = metric
        return [scraped, seconds, *found.values()]

    async def _of_one(self, url: str) -> tuple[list[Metric] | None, float]:
        began = time.monotonic()
        families: list[Metric] | None = None
        try:
            async with asyncio.timeout(_WAIT_S):
                families = list(_labelled(await _get(url), urllib.parse.urlsplit(url).netloc))
        except (TimeoutError, OSError, ValueError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            if url not in self._silent:
                log.warning("Triton's metrics at %s cannot be fetched: %r", url, error)
        (self._silent.add if families is None else self._silent.discard)(url)
        return families, time.monotonic() - began


async def _get(url: str) -> str:
    """Return the text at a URL.

    Raises:
        ValueError: It is not there, or too long.
    """
    body = bytearray()
    async with httpcore.AsyncConnectionPool() as pool, pool.stream("GET", url) as response:
        if response.status != 200:
            raise ValueError(f"the status is {response.status}")
        async for piece in response.aiter_stream():
            body += piece
            if len(body) > _MOST_BYTES:
                raise ValueError(f"they have more than {_MOST_BYTES} bytes")
    return body.decode()


def _labelled(text: str, address: str) -> Iterator[Metric]:
    """Yield Triton's own metrics with its address.

    Their type is left open: the names of its counters do not end in ``_total``, which OpenMetrics wants of counters.
    """
    for family in text_string_to_metric_families(text):
        if family.name.startswith(_OWN):
            metric = Metric(family.name, family.documentation, "unknown")
            for sample in family.samples:
                # The parser appends ``_total`` to the names of counters.
                metric.add_sample(
                    sample.name if sample.name in text else family.name,
                    {**sample.labels, "triton": address},
                    sample.value,
                )
            yield metric
