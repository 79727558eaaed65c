"""Show the server's progress with a model on standard error, while a command waits."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingrain.errors import IngrainError
from ingrain.repository.models_to_load import ModelRef

if TYPE_CHECKING:
    from ingrain.client import Client

_POLL_EVERY_S = 0.5
# The phases in the reasons of the server's list of models, as shown to users.
_PHASES = {"download": "downloading", "read": "reading", "export": "converting", "verify": "proving"}
_PHASE = re.compile(r"\bphase (\w+)")
_REWRITE = "\r\033[K"


@contextlib.contextmanager
def shown_progress(client: Client, ref: ModelRef, what: str) -> Iterator[None]:
    """Poll the server's list of models during the block, and show the model's progress.

    On a terminal, one line with amounts and time is rewritten; a file or pipe gets a line for each new phase.

    Args:
        client: Client of the server; used from a separate thread.
        ref: The model.
        what: Start of each line: what the command does.
    """
    has_ended = threading.Event()
    show = _on_terminal if sys.stderr.isatty() else _in_lines
    watcher = threading.Thread(target=show, args=(client, ref, what, has_ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        has_ended.set()
        watcher.join(2 * _POLL_EVERY_S)


def _on_terminal(client: Client, ref: ModelRef, what: str, has_ended: threading.Event) -> None:
    started, state = time.monotonic(), ""
    while not has_ended.is_set():
        elapsed = f" [{time.monotonic() - started:.0f} s]" if state else " ..."
        print(f"{_REWRITE}{what}{state}{elapsed}", end="", file=sys.stderr, flush=True)
        has_ended.wait(_POLL_EVERY_S)
        state = f": {_state(client, ref) or 'waiting'}"
    print(_REWRITE, end="", file=sys.stderr, flush=True)


def _in_lines(client: Client, ref: ModelRef, what: str, has_ended: threading.Event) -> None:
    shown = None
    while not has_ended.wait(_POLL_EVERY_S):
        state = _state(client, ref)
        phase = re.split(r"[,(]", state)[0].strip() if state else None
        if phase not in (None, shown) and not has_ended.is_set():
            print(f"{what}: {phase}", file=sys.stderr, flush=True)
            shown = phase


def _state(client: Client, ref: ModelRef) -> str | None:
    """Return the model's progress in the server's list of models; None if it has none."""
    try:
        models = client.repository_models().models
    except IngrainError:
        return None  # the command itself reports the error
    same = (model for model in models if (model.name, model.pretrained) == (ref.name, ref.pretrained))
    reason = next((model.reason for model in same if model.reason), None)
    if reason is None:
        return None
    state = reason.removesuffix(".").removeprefix("it is being loaded, ").replace("it is being loaded", "loading")
    state = state.replace("it is being tuned", "measuring")
    return _PHASE.sub(lambda found: _PHASES.get(found[1], found[1]), state)
