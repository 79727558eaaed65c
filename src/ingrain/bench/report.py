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
_TIMELINE = 140


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
        "errors": result.failed,
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


def as_svg(latencies_s: Sequence[float], title: str, answered_at_s: Sequence[float] = ()) -> str:
    """Draw how many answers took how long, and below it how many came when.

    Args:
        latencies_s: Of the good answers; in bars up to the 99.5th percentile, with lines at p50, p95 and p99.
        title: Of the picture.
        answered_at_s: When each of them came; none for no second part.

    Returns:
        An SVG document.
    """
    height = _HEIGHT + (_TIMELINE if answered_at_s else 0)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif">'
    if not latencies_s:
        return head + "</svg>\n"
    shapes = [*_latency_shapes(latencies_s), _words(_WIDTH / 2, 16, escape(title), size=12)]
    if answered_at_s:
        shapes += _timeline_shapes(answered_at_s)
    return f'{head}\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"


def _latency_shapes(latencies_s: Sequence[float]) -> list[str]:
    ordered = sorted(latencies_s)
    most = ordered[min(len(ordered) - 1, int(0.995 * len(ordered)))] or 1e-9
    top, bottom = _MARGIN + 10, _HEIGHT - _MARGIN
    shapes = _bars([latency for latency in ordered if latency <= most], most, top, bottom)
    for share in _SHARES:
        latency = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        x = _MARGIN + min(1.0, latency / most) * (_WIDTH - 2 * _MARGIN)
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#b03a2e"/>')
        shapes.append(_words(x, top - 6, f"p{round(100 * share)} {1e3 * latency:.1f}"))
    shapes.append(_words(_WIDTH / 2, bottom + 14, "answers by latency"))
    shapes.append(_words(_WIDTH - _MARGIN, bottom + 14, f"{1e3 * most:.1f} ms"))
    return shapes


def _timeline_shapes(answered_at_s: Sequence[float]) -> list[str]:
    last = max(answered_at_s) or 1e-9
    top, bottom = _HEIGHT - 10, _HEIGHT + _TIMELINE - _MARGIN + 10
    shapes = _bars(answered_at_s, last, top, bottom)
    shapes.append(_words(_WIDTH / 2, bottom + 14, "answers by the moment at which they came"))
    shapes.append(_words(_WIDTH - _MARGIN, bottom + 14, f"{last:.1f} s"))
    return shapes


def _bars(values: Sequence[float], most: float, top: float, bottom: float) -> list[str]:
    """Draw how many values lie where between 0 and ``most``."""
    counts = [0] * _BARS
    for value in values:
        counts[min(_BARS - 1, int(value / most * _BARS))] += 1
    width = (_WIDTH - 2 * _MARGIN) / _BARS
    heights = [(bottom - top) * count / max(counts) for count in counts]
    return [
        f'<rect x="{_MARGIN + number * width:.1f}" y="{bottom - height:.1f}" width="{width - 1:.1f}" '
        f'height="{height:.1f}" fill="#4a7ab5"/>'
        for number, height in enumerate(heights)
    ]


def _words(x: float, y: float, words: str, *, size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle">{words}</text>'
