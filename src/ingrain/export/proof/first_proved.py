"""Tries ways to make a graph, best first, until the result of one is proved."""

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
    """Try one way after the other.

    Raises:
        VerificationError: The last difference that was measured, where every way failed and one could be run.
        UnsupportedModelError: No exporter can express it.
    """
    refusal: VerificationError | None = None
    for way in ways:
        try:
            return attempt(way)
        except (CannotConvert, VerificationError) as error:
            # The next way may manage; the operator's log keeps what was wrong with this one.
            print(f"{what}, {way} did not work:", file=sys.stderr)  # noqa: T201  # the worker's stderr is its log
            traceback.print_exc()
            refusal = error if isinstance(error, VerificationError) else refusal
    raise refusal or unsupported(f"{what} cannot be converted to ONNX: no exporter can express it.")
