"""Summarizes a run as a report, for JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping

from ingrain.bench.load import LoadResult
from ingrain.bench.plot import SHARES
from ingrain.bench.server_side import ServerCounts
from ingrain.cores import usable_cores


def summarize(
    what: Mapping[str, object], result: LoadResult, batch: int, counted: ServerCounts | None
) -> dict[str, object]:
    """Return the report of a run; the keys are those of the JSON report and stay stable."""
    report: dict[str, object] = {
        **what,
        "seconds": round(result.seconds, 3),
        "requestsPerS": round(result.requests_per_s, 1),
        "itemsPerS": round(result.requests_per_s * batch, 1),
        "latencyMs": {f"p{round(100 * share)}": round(result.percentile_ms(share), 2) for share in SHARES},
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "lostRequests": result.lost,
        "errors": result.failed,
        "loadGeneratorCpuShare": round(result.cpu_s / result.seconds / usable_cores(), 3),
    }
    if counted is not None and counted.looked_up:
        report["cacheHitShare"] = round(counted.cache_hits / counted.looked_up, 4)
    if counted is not None and counted.batches:
        report["tokensPerS"] = round(counted.tokens / result.seconds, 1)
        report["meanBatch"] = round(counted.items / counted.batches, 2)
        report["paddingShare"] = round(1 - counted.tokens / max(1.0, counted.padded_tokens), 4)
        if counted.cpu_s:
            report["cpuShare"] = {
                name: round(seconds / result.seconds / usable_cores(), 3) for name, seconds in counted.cpu_s.items()
            }
    return report


def as_text(report: Mapping[str, object]) -> str:
    """Return the report as lines for a terminal."""
    lines = []
    for name, value in report.items():
        shown = ", ".join(f"{key}: {one}" for key, one in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name:22} {shown}")
    return "\n".join(lines)
