"""`ingrain serve`: starts the server; has one flag per setting."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ingrain.cli.parsers import add_command
from ingrain.install_hint import install_hint
from ingrain.settings import SettingInfo, describe, load_settings

OTHER_FLAGS = {"inference_port": ("--port",)}
"""Short names of flags of `ingrain serve`, by the field of ``Settings``."""

_EXAMPLES = """\
examples:
  ingrain serve --models sentence-transformers/all-MiniLM-L6-v2
  ingrain serve --local-models-dir ./models --models my-model,other-model
  TRITON_GRPC_URL=triton:8001 ingrain serve --repository /repository
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "serve",
        "start the server",
        serve,
        description="Start the server: the inference plane and the model plane.",
        examples=_EXAMPLES,
    )
    for info in describe():
        _add_flag(parser, info)


def logs_json(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return whether a command line starts a server whose log is JSON, which holds from the first line on."""
    if arguments[:1] != ["serve"] or not {"-h", "--help"}.isdisjoint(arguments):
        return False
    flag, style = "--log-format", environ.get("INGRAIN_LOG_FORMAT", "").strip()
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == flag:
            style = following
        elif argument.startswith(f"{flag}="):
            style = argument.partition("=")[2]
    return style == "json"


def log_json() -> None:
    """Log as JSON from now on, with what the command line and libraries print."""
    from ingrain.app.log_output import take_output
    from ingrain.app.logs import configure_logs, output_line

    take_output(output_line)
    configure_logs("info", "json")


def serve(options: dict[str, object]) -> int:
    """Run the command."""
    settings = load_settings(options)
    try:
        from ingrain.app.run import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        print(f"ingrain: {package!r} is not installed. Run: {install_hint('serve', 'triton')}", file=sys.stderr)
        return 1
    run(settings)
    return 0


def _add_flag(parser: argparse.ArgumentParser, info: SettingInfo) -> None:
    """Add a setting's flag; ``load_settings`` converts the text values later."""
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
