"""A run in numbers: for a person, as JSON, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ingrain.bench.load import LoadResult
from ingrain.bench.server_side import ServerCounts
from ingrain.cores import usable_cores

_SHARES = (0.5, 0.95, 0.99)
_WIDTH, _HEIGHT, _MARGIN = 640, 320, 40
_BARS = 60


def summarize(
    what: Mapping[str, object], result: LoadResult, batch: int, counted: ServerCounts | None
) -> dict[str, object]:
    """Return all that was measured, under names that the JSON report keeps."""
    report: dict[str, object] = {
        **what,
        "seconds": round(result.seconds, 3),
        "requestsPerS": round(result.requests_per_s, 1),
        "itemsPerS": round(result.requests_per_s * batch, 1),
        "latencyMs": {f"p{round(100 * share)}": round(result.percentile_ms(share), 2) for share in _SHARES},
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "lostRequests": result.lost,
        "loadGeneratorCpuShare": round(result.cpu_s / result.seconds / usable_cores(), 3),
    }
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


def as_svg(latencies_s: Sequence[float], title: str) -> str:
    """Draw how many answers took how long, in bars up to the 99.5th percentile, with lines at p50, p95 and p99.

    Returns:
        An SVG document.
    """
    ordered = sorted(latencies_s)
    if not ordered:
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"/>\n'
    most = ordered[min(len(ordered) - 1, int(0.995 * len(ordered)))] or 1e-9
    counts = [0] * _BARS
    for latency in ordered:
        counts[min(_BARS - 1, int(latency / most * _BARS))] += latency <= most
    plot_width, plot_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    bar = plot_width / _BARS
    shapes = [
        f'<rect x="{_MARGIN + number * bar:.1f}" y="{_HEIGHT - _MARGIN - height:.1f}" width="{bar - 1:.1f}" '
        f'height="{height:.1f}" fill="#4a7ab5"/>'
        for number, height in enumerate(plot_height * count / max(counts) for count in counts)
    ]
    for share in _SHARES:
        latency = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        x = _MARGIN + min(1.0, latency / most) * plot_width
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_MARGIN}" y2="{_HEIGHT - _MARGIN}" stroke="#b03a2e"/>')
        shapes.append(
            f'<text x="{x:.1f}" y="{_MARGIN - 6}" font-size="11" text-anchor="middle">p{round(100 * share)} '
            f"{1e3 * latency:.1f}</text>"
        )
    shapes.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" font-size="12" text-anchor="middle">{escape(title)}</text>'
    )
    shapes.append(
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - _MARGIN + 14}" font-size="11" text-anchor="end">'
        f"{1e3 * most:.1f} ms</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">\n'
        '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )
