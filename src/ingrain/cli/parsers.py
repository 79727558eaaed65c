"""Shared parts of the commands' argument parsers."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, get_args

from ingrain.vocabulary import Library

Run = Callable[[dict[str, Any]], int]
"""Runs a command with its options, and returns the exit status."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, which names the flags that are similar to an unknown one."""

    def error(self, message: str) -> NoReturn:
        """End the program with an error."""
        said = message if message.endswith(("?", ".")) else f"{message}."
        self.exit(2, f"{self.prog}: {said} `{self.prog} --help` lists what there is.\n")

    # The one form of the overloaded method that argparse itself calls.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse; every parser, also that of a command, refuses what it does not know."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            given = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(given, self._option_string_actions, n=2)
            self.error(f"{given!r} is not known" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        return found, unknown


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
        commands: Subparsers of the `ingrain` parser.
        name: Name of the command.
        summary: One line for the list of commands.
        run: Function that runs the command.
        description: First sentence of the command's help; the summary if None.
        examples: Examples, shown below the flags.
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
    """Add the flags for the server's addresses and key."""
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
        help="key of the server. Default: INGRAIN_API_KEY, which, unlike a flag, other users here cannot see.",
    )


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that identify a model besides its name."""
    parser.add_argument("--library", choices=get_args(Library), help="source library.")
    parser.add_argument("--pretrained", metavar="TAG", help="weight tag of an OpenCLIP model.")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--json`, for programs."""
    parser.add_argument("--json", action="store_true", help="answer as one JSON document, errors too.")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number
