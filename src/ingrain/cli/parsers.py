"""Parts of the parsers of several commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, get_args

from ingrain.vocabulary import Library

Run = Callable[[dict[str, Any]], int]
"""Runs a command with its options, and returns the exit status."""


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: Run,
    *,
    description: str | None = None,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: Of the `ingrain` parser.
        name: Of the command.
        summary: One line for the list of commands.
        run: What it does.
        description: What its own help says; the summary as a sentence if None.
        examples: Shown as they are below its flags.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the server is."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--inference-url",
        metavar="URL",
        help="the inference plane. Default: INGRAIN_INFERENCE_URL, else port 8686 here.",
    )
    group.add_argument(
        "--model-url", metavar="URL", help="the model plane. Default: INGRAIN_MODEL_URL, else port 8687 here."
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="key of the server. Default: INGRAIN_API_KEY, which others on this machine cannot see as they can a flag.",
    )


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say more of a model than its name."""
    parser.add_argument("--library", choices=get_args(Library), help="source library.")
    parser.add_argument("--pretrained", metavar="TAG", help="weight tag of an OpenCLIP model.")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag for programs."""
    parser.add_argument("--json", action="store_true", help="answer as one JSON document, errors too.")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number
