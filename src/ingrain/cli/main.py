"""The `ingrain` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from ingrain import __version__
from ingrain.cli import bench, bundle, completion, doctor, embed, keys, models, rerank, serve, tune, verify
from ingrain.cli.connect import complain
from ingrain.cli.parsers import Parser
from ingrain.errors import IngrainError, ServerUnreachableError, SettingsError

_FAILED, _INTERRUPTED = 1, 130
_STATUSES: tuple[tuple[type[IngrainError], int], ...] = ((SettingsError, 2), (ServerUnreachableError, 3))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage or settings, 3 no server, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    logs_json = serve.logs_json(arguments, os.environ)
    if logs_json:
        serve.log_json()
    options = vars(make_parser().parse_args(arguments))
    del options["command"]
    try:
        status = int(options.pop("run")(options))
        sys.stdout.flush()  # at exit, a reader that has gone would be an error
        return status
    except IngrainError as error:
        if logs_json:
            logging.getLogger("ingrain.server").error("%s", error.message)
        else:
            complain(error, as_json=options.get("json") is True)
        return next((status for kind, status in _STATUSES if isinstance(error, kind)), _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe has closed it. Without this, Python prints another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser: argparse.ArgumentParser = Parser(prog="ingrain", description="Embeddings of any model, through Triton.")
    parser.add_argument("--version", action="version", version=f"ingrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve.add_parser(commands)
    bench.add_parser(commands)
    models.add_parsers(commands)
    tune.add_parser(commands)
    embed.add_parser(commands)
    rerank.add_parser(commands)
    verify.add_parser(commands)
    bundle.add_parser(commands)
    keys.add_parser(commands)
    doctor.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
