"""`ingrain bench`: measures a running server and prints a report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import get_args

from ingrain.bench.load import Answers
from ingrain.bench.texts import Mix
from ingrain.cli.parsers import add_command, positive
from ingrain.errors import SettingsError

_EXAMPLES = """\
examples:
  ingrain bench --model all-MiniLM-L6-v2
  ingrain bench --model all-MiniLM-L6-v2 --clients 500 --mix lognormal --json report.json --plot latency.svg
  ingrain bench --model all-MiniLM-L6-v2 --rate 200 --seconds 30     # offered load, whatever the server does
  ingrain bench --model ViT-B-32 --images photos/*.jpg --clients 32

The load generator shares the machine with a local server; its share of the CPU is reported.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "bench",
        "measure a running server",
        bench,
        description="Load a running server and report its rate, latencies, batches and CPU shares.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8686", help="the inference plane. Default: http://127.0.0.1:8686.")
    add("--model", required=True, help="a model that is loaded.")
    add("--clients", type=positive, default=64, help="requests in progress; with --rate, connections. Default: 64.")
    add("--rate", type=_positive_float, help="requests a second on average, sent whether or not the server keeps up.")
    add("--seconds", type=_positive_float, default=10.0, help="how long requests are sent. Default: 10.")
    add("--warm-up", type=float, default=1.0, metavar="SECONDS", help="load before that, not counted. Default: 1.")
    add("--batch", type=positive, default=1, help="items in each request. Default: 1.")
    add(
        "--answers",
        choices=get_args(Answers),
        default="json",
        help="how vectors are answered: numbers or base64 in JSON, or float32 as they are. Default: json.",
    )
    add(
        "--cache",
        action="store_true",
        help="let the server answer from its cache of vectors; without it every text is computed.",
    )
    add(
        "--mix",
        choices=get_args(Mix),
        default="query",
        help="texts: query (4 to 9 words), constant (8 words), news (293 articles, 30 to 350 words; needs the package "
        "gensim), lognormal (median 60 words, sigma 0.9), file. Default: query.",
    )
    add("--texts", type=positive, default=20_000, help="distinct texts; a longer run repeats them. Default: 20000.")
    add("--texts-file", type=Path, help="a text a line, for --mix file.")
    add("--images", type=Path, nargs="+", default=[], help="picture files to embed instead of texts.")
    add("--api-key", help="key of the server. Default: the environment's INGRAIN_API_KEY.")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too.")
    add(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw latencies and answers over time, as SVG, PNG or PDF.",
    )


def bench(options: dict[str, object]) -> int:
    """Run the command; 1 if any request failed."""
    from ingrain.bench.plot import check_matplotlib, write_plot
    from ingrain.bench.report import as_text
    from ingrain.bench.run import BenchOptions, run_bench

    json_file, plot_file = options.pop("json"), options.pop("plot")
    options["warm_up_s"] = options.pop("warm_up")
    options["api_key"] = options["api_key"] or os.environ.get("INGRAIN_API_KEY")
    if isinstance(plot_file, Path):
        check_matplotlib()
    report, result = run_bench(BenchOptions(**options))  # type: ignore[arg-type]  # argparse has checked them
    print(as_text(report))
    if isinstance(json_file, Path):
        _write(json_file, json.dumps(report, indent=2) + "\n")
    if isinstance(plot_file, Path):
        title = f"{report['model']}: {report['requestsPerS']} requests/s, {report['errors']} errors"
        write_plot(result, title, plot_file)
    if result.failed:
        print(f"ingrain: {result.failed} requests were not answered with 200.", file=sys.stderr)
    return 1 if result.failed else 0


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content, "utf-8")
    except OSError as error:
        raise SettingsError(f"The file {file} cannot be written.", param="--json") from error


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number
