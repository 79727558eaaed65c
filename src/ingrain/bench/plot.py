"""Plots the latencies of a run as a histogram, and its responses over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ingrain.bench.load import LoadResult
from ingrain.errors import SettingsError
from ingrain.install_hint import install_hint

SHARES = (0.5, 0.95, 0.99)
"""Percentiles in the report and in the plot."""

# Share of the responses in the histogram; the slowest ones would squeeze all others into one bar.
_SHOWN_SHARE = 0.995
_BARS = 60


def check_matplotlib() -> None:
    """Check that matplotlib is installed; called before the run, so that no run is lost.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only checks that the package is installed
    except ImportError as error:
        raise SettingsError(f"--plot needs matplotlib: {install_hint('bench')}.", param="--plot") from error


def draw(result: LoadResult, title: str) -> Any:
    """Plot a run and return the ``matplotlib.figure.Figure``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    figure.suptitle(title)
    by_latency, by_time = figure.subplots(2, height_ratios=(2, 1))
    latencies_ms = 1e3 * np.asarray(result.latencies_s)
    by_latency.set(xlabel="latency in ms", ylabel="responses")
    by_time.set(xlabel="seconds since the start", ylabel="responses")
    if result.latencies_s:
        longest_ms = np.quantile(latencies_ms, _SHOWN_SHARE)
        by_latency.hist(latencies_ms, bins=_BARS, range=(0, longest_ms))
        for share in SHARES:
            latency_ms = result.percentile_ms(share)
            by_latency.axvline(min(latency_ms, longest_ms), color="firebrick")
            by_latency.annotate(
                f"p{100 * share:.0f} {latency_ms:.1f}",
                (min(latency_ms, longest_ms), 1.01),
                xycoords=("data", "axes fraction"),
                ha="center",
            )
        by_time.hist(result.answered_at_s, bins=_BARS, range=(0, max(result.answered_at_s)))
    return figure


def write_plot(result: LoadResult, title: str, file: Path) -> None:
    """Plot a run into a file: SVG, PNG or PDF by its suffix.

    Raises:
        SettingsError: The file cannot be written, or its suffix is not a supported format.
    """
    try:
        draw(result, title).savefig(file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"The plot {file} cannot be written: {error}.", param="--plot") from error
