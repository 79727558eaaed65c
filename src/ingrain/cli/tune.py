"""`ingrain tune`: has a running server tune a model, and shows the measurements."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec

from ingrain.cli.connect import (
    make_impatient_client,
    model_of,
    say,
)
from ingrain.cli.parsers import add_command, add_connection_flags, add_json_flag, add_model_flags
from ingrain.cli.progress import shown_progress

if TYPE_CHECKING:
    from ingrain.api.tuning import Execution, GraphTuning, ModelTuningAnswer

_EXAMPLES = """\
examples:
  ingrain tune all-MiniLM-L6-v2                 # about half a minute; the model answers 503 at times
  ingrain tune all-MiniLM-L6-v2 --seconds 120   # a longer look, for a busy machine
  ingrain tune all-MiniLM-L6-v2 --show          # what is in effect, and the curve
  ingrain tune all-MiniLM-L6-v2 --reset         # back to the defaults
"""
_HEAD = ("STEP", "COPIES", "THREADS", "ITEMS", "TOKENS", "ITEMS/S", "RATIO")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "tune",
        "find out how a loaded model runs fastest",
        tune,
        description="Find out how a loaded model runs fastest on the server's machine, and have it run that way.",
        examples=_EXAMPLES,
    )
    parser.add_argument("name", help="the model, as `ingrain load` takes it.")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="target duration in seconds, not a limit. Default: 30."
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--show", action="store_true", help="measure nothing; show what is in effect and was measured."
    )
    instead.add_argument("--reset", action="store_true", help="forget the tuning; the model runs by default again.")
    add_json_flag(parser)
    add_connection_flags(parser)
    add_model_flags(parser)


def tune(options: dict[str, object]) -> int:
    """Tune a model, show its tuning, or forget it."""
    ref, library = model_of(str(options["name"]), options["library"], options["pretrained"])  # type: ignore[arg-type]
    with make_impatient_client(options) as client:
        if options["reset"]:
            done = client.reset_tuning(ref.name, library=library, pretrained=ref.pretrained)
            say(dict(done), as_json=options["json"], text=done.message)
            return 0
        if options["show"]:
            answer = client.model_tuning(ref.name, library=library, pretrained=ref.pretrained)
        else:
            with shown_progress(client, ref, f"Tuning {ref.name}") if sys.stderr.isatty() else nullcontext():
                answer = client.tune_model(
                    ref.name,
                    library=library,
                    pretrained=ref.pretrained,
                    seconds=options["seconds"],  # type: ignore[arg-type]  # argparse has made it a number
                )
    say(msgspec.to_builtins(answer), as_json=options["json"], text=_text(answer))
    return 0


def _text(answer: ModelTuningAnswer) -> str:
    parts = [answer.message]
    if answer.tuned_at is not None:
        parts.append(f"Measured at {answer.tuned_at} in {answer.seconds:g} s.")
    if answer.given:
        parts.append(f"Set by the operator: {', '.join(f'{name}={value}' for name, value in answer.given.items())}.")
    for graph in answer.graphs:
        parts += ["", f"{graph.role}: {_words(graph.in_effect)}", *_table(graph)]
    return "\n".join(parts)


def _words(execution: Execution) -> str:
    copies = "1 copy" if execution.copies == 1 else f"{execution.copies} copies"
    if execution.threads:
        threads = f"{execution.threads} thread{'s' if execution.threads > 1 else ''} each"
    else:
        threads = "as many threads as ONNX Runtime chooses"
    tokens = f", {execution.max_tokens} tokens" if execution.max_tokens is not None else ""
    return f"{copies}, {threads}; batches of at most {execution.max_items} items{tokens}."


def _table(graph: GraphTuning) -> list[str]:
    if not graph.curve:
        return []
    rows: list[tuple[str, ...]] = [_HEAD]
    for point in graph.curve:
        one = point.execution
        numbers = (one.copies, one.threads, one.max_items, "" if one.max_tokens is None else one.max_tokens)
        rows.append((point.step, *map(str, numbers), f"{point.items_per_s:.1f}", f"{point.ratio:.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
