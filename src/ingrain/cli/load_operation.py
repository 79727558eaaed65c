"""Loads a model as an operation of the server, shows how far it is, and stops it when the command is interrupted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingrain.errors import IngrainError, InvalidRequestError, ModelConflictError, NotFoundError, error_class

if TYPE_CHECKING:
    from ingrain.api.operations import OperationAnswer
    from ingrain.client import Client

_POLL_EVERY_S = 0.5
_LINE_EVERY_S = 10.0
_MOST_STARTS = 3
_BAR_WIDTH = 24
_REWRITE = "\r\033[K"
_PHASES = {
    "queued": "waiting",
    "download": "downloading",
    "read": "reading",
    "export": "converting",
    "verify": "proving",
    "tune": "measuring",
}
"""The phases of an operation as shown to users, where the words differ."""


def load_followed(client: Client, start: Callable[[], OperationAnswer], what: str) -> bool:
    """Start a load, show its progress until it has ended, and cancel it if the command is interrupted.

    On a terminal, one line with a bar is rewritten; a file or a pipe gets a line for each phase, and one every 10 s.

    Args:
        client: Client of the server.
        start: Starts the load, and returns the operation.
        what: Start of each line: what the command does.

    Returns:
        False if the server is of a version without operations, and nothing was started.

    Raises:
        IngrainError: The load has failed, as the class that the server names, or was cancelled by another request.
        KeyboardInterrupt: The command was interrupted; the load is cancelled if this command began it.
    """
    try:
        known = {one.id for one in client.operations().operations}
        operation = start()
    except NotFoundError:
        return False  # it has no operations
    except InvalidRequestError as error:
        if error.param != "wait":
            raise
        return False
    show = _Line(what) if sys.stderr.isatty() else _Lines(what)
    try:
        ended = _followed(client, start, operation, show)
    except KeyboardInterrupt:
        show.end()
        _interrupted(client, operation, is_own=operation.id not in known)
        raise
    finally:
        show.end()
    if ended.state == "failed":
        kind = error_class(ended.error_code or "") or IngrainError
        raise kind(ended.last_error or "The load has failed.")
    if ended.state == "cancelled":
        raise ModelConflictError(f"Another request has cancelled the load of model {ended.name!r}.")
    return True


def _followed(
    client: Client, start: Callable[[], OperationAnswer], operation: OperationAnswer, show: _Line | _Lines
) -> OperationAnswer:
    """Return the operation when it has ended; it is started again if the server has restarted and forgot it."""
    starts = 1
    while True:
        show.tell(operation)
        if operation.state != "running":
            return operation
        time.sleep(_POLL_EVERY_S)
        try:
            operation = client.operation(operation.id)
        except NotFoundError:
            if starts == _MOST_STARTS:
                raise
            operation, starts = start(), starts + 1


def _interrupted(client: Client, operation: OperationAnswer, *, is_own: bool) -> None:
    """Cancel the load, or say how to."""
    name = operation.name
    cancel = f"POST /operations/{operation.id}/cancel on the model plane stops it"
    if not is_own:
        _print(f"The load of {name} goes on, because another request began it; {cancel}.")
        return
    try:
        client.cancel_operation(operation.id)
    except IngrainError as error:
        _print(f"The load of {name} could not be cancelled: {error.message} {cancel}.")
    else:
        _print(f"The load of {name} is cancelled.")


class _Line:
    """Rewrites one line of a terminal."""

    def __init__(self, what: str) -> None:
        self._what, self._started = what, time.monotonic()

    def tell(self, operation: OperationAnswer) -> None:
        parts = [f"{self._what}: {_phase(operation)}", _bar(operation), _amount(operation), operation.detail]
        elapsed = f"[{time.monotonic() - self._started:.0f} s]"
        print(f"{_REWRITE}{' '.join(filter(None, [*parts, elapsed]))}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        print(_REWRITE, end="", file=sys.stderr, flush=True)


class _Lines:
    """Writes a line for each phase, and one every few seconds."""

    def __init__(self, what: str) -> None:
        self._what, self._phase, self._next = what, "", 0.0

    def tell(self, operation: OperationAnswer) -> None:
        phase, now = _phase(operation), time.monotonic()
        if operation.state != "running" or (phase == self._phase and now < self._next):
            return
        amount = _amount(operation) if phase == self._phase else ""
        _print(" ".join(filter(None, [f"{self._what}: {phase}", amount])))
        self._phase, self._next = phase, now + _LINE_EVERY_S

    def end(self) -> None:
        pass


def _phase(operation: OperationAnswer) -> str:
    phase = _PHASES.get(operation.phase, "loading")
    return f"{phase} for {operation.queue_position} other(s)" if operation.phase == "queued" else phase


def _amount(operation: OperationAnswer) -> str:
    done, total = operation.done, operation.total
    if not total:
        return ""
    if operation.unit == "bytes":
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB ({done / total:.0%})"
    return f"{done} of {total} {operation.unit}" if total > 1 else ""


def _bar(operation: OperationAnswer) -> str:
    if operation.total <= 1:
        return ""
    filled = min(_BAR_WIDTH, _BAR_WIDTH * operation.done // operation.total)
    return f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}]"


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
