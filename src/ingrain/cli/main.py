"""The `ingrain` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ingrain import __version__
from ingrain.cli import bench, completion, doctor, embed, models, tune, verify
from ingrain.cli.connect import complain
from ingrain.errors import IngrainError, ServerUnreachableError, SettingsError
from ingrain.install import install_hint
from ingrain.settings import SettingInfo, describe, load_settings

OTHER_FLAGS = {"inference_port": ("--port",)}
"""Short names of flags of `ingrain serve`, by the field of ``Settings``."""

_FAILED, _INTERRUPTED = 1, 130
_STATUSES: tuple[tuple[type[IngrainError], int], ...] = ((SettingsError, 2), (ServerUnreachableError, 3))
_SERVE_EXAMPLES = """\
examples:
  ingrain serve --models sentence-transformers/all-MiniLM-L6-v2
  ingrain serve --local-models-dir ./models --models my-model,other-model
  TRITON_GRPC_URL=triton:8001 ingrain serve --repository /repository
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage or settings, 3 no server, 130 interrupted.
    """
    options = vars(make_parser().parse_args(arguments))
    command, run = options.pop("command"), options.pop("run", None)
    try:
        if run is not None:
            return int(run(options))
        if command == "serve":
            return _serve(options)
        if command == "bench":
            return bench.bench(options)
    except IngrainError as error:
        complain(error, as_json=options.get("json") is True)
        return next((status for kind, status in _STATUSES if isinstance(error, kind)), _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERRUPTED
    return 0


def _serve(options: dict[str, object]) -> int:
    settings = load_settings(options)
    try:
        from ingrain.app.run import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        print(f"ingrain: {package!r} is not installed. Run: {install_hint('serve', 'triton')}", file=sys.stderr)
        return 1
    run(settings)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="ingrain", description="Embeddings of any model, through Triton.")
    parser.add_argument("--version", action="version", version=f"ingrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="start the server",
        description="Start the server: the inference plane and the model plane.",
        epilog=_SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for info in describe():
        _add_flag(serve, info)
    bench.add_parser(commands)
    models.add_parsers(commands)
    tune.add_parser(commands)
    embed.add_parser(commands)
    verify.add_parser(commands)
    doctor.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser


def _add_flag(parser: argparse.ArgumentParser, info: SettingInfo) -> None:
    """Add a setting's flag; values stay text until the settings are put together."""
    shown = f" Default: {info.shown_default}." if info.shown_default else ""
    text = f"{info.description}{shown} [{info.env}]".replace("%", "%%").replace("`", "")
    flags = (info.flag, *OTHER_FLAGS.get(info.field, ()))
    if info.is_switch:
        values = "true|false|NAMES" if info.switch else "true|false"
        parser.add_argument(*flags, dest=info.field, nargs="?", const="true", metavar=values, default=None, help=text)
    else:
        metavar = "|".join(info.choices) or info.field.rsplit("_", 1)[-1].upper()
        choices = info.choices or None
        parser.add_argument(*flags, dest=info.field, metavar=metavar, choices=choices, default=None, help=text)


if __name__ == "__main__":
    sys.exit(main())
