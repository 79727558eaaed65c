"""The part of the manifest that says how a chat template makes one text of a pair of texts."""

from __future__ import annotations

from typing import Literal

import msgspec


class Slot(msgspec.Struct, frozen=True):
    """A place in a chat template that takes a text.

    Attributes:
        takes: The text: the first or the second one of a pair, or the prompt.
        strip: True if white space around the text is left out.
    """

    takes: Literal["first", "second", "prompt"]
    strip: bool = False


class PairTemplate(msgspec.Struct, frozen=True):
    """How a model that reads chat messages reads a pair of texts: as one text, which its chat template makes.

    Attributes:
        without_prompt: The parts of that text in order: fixed ones, and places for texts.
        with_prompt: The same for a pair with a prompt, which is a system message; None if the template refuses one.
        keeps_end: True if a pair that is too long keeps the tokens that the template puts behind the texts.
    """

    without_prompt: tuple[str | Slot, ...]
    with_prompt: tuple[str | Slot, ...] | None
    keeps_end: bool = True
