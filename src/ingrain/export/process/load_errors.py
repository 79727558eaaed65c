"""Translates what a source library raises while it loads a model."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ingrain.errors import ExportError, ExportUnavailableError, IngrainError
from ingrain.machine_faults import raise_if_machines


@contextmanager
def load_errors(library: str, what: str) -> Iterator[None]:
    """Translate what a library raises while it loads ``what``.

    Raises:
        ExportError: Files are missing, or do not fit together.
        ExportUnavailableError: A Python package is missing.
    """
    try:
        yield
    except IngrainError:
        raise
    except Exception as error:  # the library raises whatever the files make it stumble over
        raise_if_machines(error)
        traceback.print_exc()
        if missing := _missing_package(error):
            raise missing from error
        raise ExportError(
            f"{library} cannot load {what} ({type(error).__name__}); files are missing or do not fit together, and the "
            "server's log says which."
        ) from error


def _missing_package(error: BaseException) -> ExportUnavailableError | None:
    """Return the error to raise where an import failed, by itself or as the cause of another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ImportError):
        cause = cause.__cause__
    if cause is None:
        return None
    named = f"the Python package {cause.name!r}" if cause.name else "a Python package"
    return ExportUnavailableError(
        f"The model needs {named}, which this installation lacks or cannot import; the server's log says more."
    )
