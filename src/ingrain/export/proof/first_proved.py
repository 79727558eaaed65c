"""Tries the ways to make a graph in order, until one result is proved."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

from ingrain.errors import VerificationError
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.onnx_file import CannotConvert

Way = TypeVar("Way")
Result = TypeVar("Result")


def first_proved(ways: Iterable[Way], attempt: Callable[[Way], Result], *, what: str) -> Result:
    """Return the result of the first attempt that succeeds.

    Raises:
        VerificationError: All attempts failed, and at least one graph could be compared; this is the last such error.
        UnsupportedModelError: All attempts failed before a comparison.
    """
    refusal: VerificationError | None = None
    for way in ways:
        try:
            return attempt(way)
        except (CannotConvert, VerificationError) as error:
            print(f"{what}, {way}, failed:", file=sys.stderr)  # noqa: T201  # the worker's stderr is its log
            traceback.print_exc()
            refusal = error if isinstance(error, VerificationError) else refusal
    raise refusal or unsupported(f"{what} cannot be converted to ONNX: none of the ONNX exporters supports it.")
