"""`ingrain models`, `load`, `unload` and `delete`: the models of a running server."""

from __future__ import annotations

import argparse
import sys
from typing import Any, get_args

import msgspec

from ingrain.cli.connect import (
    make_impatient_client,
    model_of,
    say,
)
from ingrain.cli.load_operation import load_followed
from ingrain.cli.parsers import add_command, add_connection_flags, add_json_flag, add_model_flags
from ingrain.cli.progress import shown_progress
from ingrain.errors import SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.units import show_bytes
from ingrain.vocabulary import Library, Precision, Task

_NAME = "what the source library calls the model; also `library:name`, `name@tag` or `name@revision`, and `#int8`."
_MODELS_EXAMPLES = """\
examples:
  ingrain models
  ingrain models --json
"""
_LOAD_EXAMPLES = """\
examples:
  ingrain load sentence-transformers/all-MiniLM-L6-v2
  ingrain load open_clip:ViT-B-32@laion2b_s34b_b79k
  ingrain load resnet50.a1_in1k --library timm
  ingrain load resnet50.a1_in1k --library timm --task embed
  ingrain load all-MiniLM-L6-v2#int8

A model that is not in the repository is first fetched, converted and verified, which takes minutes.
"""
_UNLOAD_EXAMPLES = """\
examples:
  ingrain unload all-MiniLM-L6-v2      # it stays in the repository
"""
_DELETE_EXAMPLES = """\
examples:
  ingrain delete all-MiniLM-L6-v2 --yes
"""


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of the four commands."""
    models_parser = add_command(commands, "models", "list the models of a server", models, examples=_MODELS_EXAMPLES)
    load_parser = add_command(
        commands, "load", "load a model, converting it first if need be", load, examples=_LOAD_EXAMPLES
    )
    load_parser.add_argument("name", help=_NAME)
    load_parser.add_argument("--revision", help="branch, tag or commit on the hub.")
    load_parser.add_argument(
        "--precision", choices=get_args(Precision), help="precision; a model stored in another is converted again."
    )
    load_parser.add_argument(
        "--task",
        choices=get_args(Task),
        help="what the model is for, if its files leave a choice; one stored for another task is converted again.",
    )
    load_parser.add_argument("--pin", action="store_true", help="keep it loaded until a command unloads it.")
    load_parser.add_argument(
        "--keep-alive", help="unload it when it was not used for this time: seconds, or a duration such as 10m."
    )
    unload_parser = add_command(commands, "unload", "unload a model", unload, examples=_UNLOAD_EXAMPLES)
    unload_parser.add_argument("name", help=_NAME)
    delete_parser = add_command(
        commands, "delete", "unload a model and remove it from the repository", delete, examples=_DELETE_EXAMPLES
    )
    delete_parser.add_argument("name", help=_NAME)
    delete_parser.add_argument(
        "--yes", action="store_true", help="do not ask for confirmation; needed without a terminal."
    )
    for parser in (load_parser, unload_parser, delete_parser):
        add_model_flags(parser)
    for parser in (models_parser, load_parser, unload_parser, delete_parser):
        add_json_flag(parser)
        add_connection_flags(parser)


def models(options: dict[str, object]) -> int:
    """List all models with their states."""
    with make_impatient_client(options) as client:
        found = client.repository_models().models
    rows = [("NAME", "LIBRARY", "MEMORY", "STATE")]
    for model in found:
        name = f"{model.name}@{model.pretrained}" if model.pretrained else model.name
        name += f"#{model.precision}" if model.precision != "fp32" else ""
        state = f"{model.state}: {model.reason}" if model.reason else model.state
        state += " (pinned)" if model.pinned else ""
        memory = show_bytes(model.memory_bytes) if model.memory_bytes else ""
        rows.append((name, model.library or "?", memory, state))
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    text = "\n".join(f"{a:{first}}  {b:{second}}  {c:>{third}}  {state}" for a, b, c, state in rows)
    say({"models": msgspec.to_builtins(found)}, as_json=options["json"], text=text)
    return 0


def load(options: dict[str, object]) -> int:
    """Load a model."""
    ref, _ = _model(options)
    revision = options["revision"] or ref.revision
    if ref.revision not in (None, revision):
        raise SettingsError(
            f"The name has revision {ref.revision!r}, but --revision is {revision!r}.", param="--revision"
        )
    precision = options["precision"] or ref.precision
    if ref.precision not in (None, precision):
        raise SettingsError(
            f"The name has precision {ref.precision!r}, but --precision is {precision!r}.", param="--precision"
        )
    as_json, what = options["json"], f"Loading {ref.name}"
    model = (ref.name, ref.library, ref.pretrained)
    wishes: dict[str, Any] = {
        "revision": revision,
        "precision": precision,
        "task": options["task"],
        "pin": True if options["pin"] else None,
        "keep_alive": options["keep_alive"],
    }
    with make_impatient_client(options) as client:
        if as_json:
            client.load_model(*model, **wishes)
        elif not load_followed(client, lambda: client.start_load(*model, **wishes), what):
            with shown_progress(client, ref, what):
                client.load_model(*model, **wishes)
    done = {"name": ref.name, "library": ref.library, "state": "READY"}
    say(done, as_json=as_json, text=f"Model {ref.name} is loaded.")
    return 0


def unload(options: dict[str, object]) -> int:
    """Unload a model."""
    ref, library = _model(options)
    with make_impatient_client(options) as client:
        answer = client.unload_model(ref.name, library=library, pretrained=ref.pretrained)
    say(dict(answer), as_json=options["json"], text=answer.message)
    return 0


def delete(options: dict[str, object]) -> int:
    """Remove a model from the repository."""
    ref, library = _model(options)
    if not options["yes"] and not _agrees(ref.name):
        print("Nothing was deleted.", file=sys.stderr)
        return 1
    with make_impatient_client(options) as client:
        answer = client.delete_model(ref.name, library=library, pretrained=ref.pretrained)
    say(dict(answer), as_json=options["json"], text=answer.message)
    return 0


def _agrees(name: str) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("Deleting needs confirmation and there is no terminal; give --yes.", param="--yes")
    print(f"Delete {name} from the server's repository? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _model(options: dict[str, object]) -> tuple[ModelRef, Library | None]:
    return model_of(str(options["name"]), options["library"], options["pretrained"])  # type: ignore[arg-type]
