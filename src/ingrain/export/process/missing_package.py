"""Finds the Python package whose absence made a source library fail."""

from __future__ import annotations

from ingrain.errors import ExportUnavailableError


def missing_package(error: BaseException) -> ExportUnavailableError | None:
    """Return the error to raise where a package is missing, and None where something else is wrong.

    Args:
        error: What was raised, by an import or because of one.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ImportError):
        cause = cause.__cause__
    if cause is None:
        return None
    named = f"the Python package {cause.name!r}" if cause.name else "a Python package"
    return ExportUnavailableError(
        f"The model needs {named}, which this installation lacks or cannot import; the server's log says more."
    )
