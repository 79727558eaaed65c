"""Reach a server, read the name of a model, and print answers and errors."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, get_args

import msgspec

from ingrain.errors import IngrainError, SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.vocabulary import Library

if TYPE_CHECKING:
    from ingrain.client import Client


def make_client(options: dict[str, object], **more: object) -> Client:
    """Return a client for the server that the connection flags name; remove the flags from ``options``."""
    from ingrain.client import Client

    return Client(
        options.pop("inference_url"),  # type: ignore[arg-type]  # argparse gives text or None
        options.pop("model_url"),  # type: ignore[arg-type]
        api_key=options.pop("api_key"),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def make_impatient_client(options: dict[str, object]) -> Client:
    """Return a client like ``make_client`` that retries for two seconds only, so that a person gets errors quickly."""
    from ingrain.client import RetryPolicy

    return make_client(options, retry=RetryPolicy(within_s=2.0))


def model_of(name: str, library: str | None, pretrained: str | None) -> tuple[ModelRef, Library | None]:
    """Parse a model's name like `ingrain serve --models`, and combine it with the flags.

    Returns:
        The model, and the library if the user named one.

    Raises:
        SettingsError: The name is empty, or the flags contradict it.
    """
    from ingrain.app.model_names import parse_model

    if not name:
        raise SettingsError("The name of the model is empty.", param="--model")
    named: Library | None = next((one for one in get_args(Library) if name.startswith(f"{one}:")), None)
    chosen: Library | None = named or library  # type: ignore[assignment]  # argparse has checked it
    if library not in (None, chosen):
        raise SettingsError(f"{name!r} names the library {named!r}, and --library {library!r}.", param="--library")
    ref = parse_model(name if named or chosen is None else f"{chosen}:{name}")
    if pretrained is not None:
        if ref.pretrained not in (None, pretrained):
            raise SettingsError(f"{name!r} names another tag than --pretrained {pretrained!r}.", param="--pretrained")
        ref = msgspec.structs.replace(ref, pretrained=pretrained)
    return ref, chosen


def quiet_logs() -> None:
    """Keep Ingrain's log off the terminal; without a handler, Python prints warnings and stack traces there."""
    logging.getLogger("ingrain").addHandler(logging.NullHandler())


def say(answer: object, *, as_json: object, text: str) -> None:
    """Print an answer, for people or for programs; characters that the output's encoding lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = json.dumps(answer, indent=2) if as_json else text
    print(shown.encode(encoding, "backslashreplace").decode(encoding))


def complain(error: IngrainError, *, as_json: object) -> None:
    """Print an error to stderr, for people or for programs."""
    if as_json:
        detail = {**error.facts, "code": error.code, "message": error.message, "param": error.param}
        if error.request_id:
            detail["requestId"] = error.request_id
        print(json.dumps({"error": detail}), file=sys.stderr)
        return
    print(f"ingrain: {error.message}", file=sys.stderr)
