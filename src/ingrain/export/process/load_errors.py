"""Translates the exceptions that a source library raises while it loads a model."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ingrain.errors import ExportError, ExportUnavailableError, IngrainError
from ingrain.machine_faults import raise_if_machines


@contextmanager
def load_errors(library: str, what: str) -> Iterator[None]:
    """Translate exceptions of a library while it loads ``what``.

    Raises:
        ExportError: Files are missing or do not fit together.
        ExportUnavailableError: A Python package is missing.
    """
    try:
        yield
    except IngrainError:
        raise
    except Exception as error:  # the library raises exceptions of many kinds
        raise_if_machines(error)
        traceback.print_exc()
        if missing := _missing_package(error):
            raise missing from error
        raise ExportError(
            f"{library} cannot load {what} ({type(error).__name__}): files are missing or do not fit together; the "
            "server's log has the details."
        ) from error


def _missing_package(error: BaseException) -> ExportUnavailableError | None:
    """Return the error to raise if an import failed, directly or as the cause of another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ImportError):
        cause = cause.__cause__
    if cause is None:
        return None
    named = f"the Python package {cause.name!r}" if cause.name else "a Python package"
    return ExportUnavailableError(
        f"The model needs {named}, which is not installed or cannot be imported; the server's log has the details."
    )
