"""Rules of a late-interaction model for the tokens of a query or a document."""

from __future__ import annotations

from typing import Literal

import msgspec

LateInteraction = Literal["maxsim", "meanmaxsim"]
"""How a query's vectors and a document's give a score, by sentence-transformers' names."""


class TokenRules(msgspec.Struct, frozen=True):
    """Which tokens a text gets besides its own, and which of its tokens have a vector in the result.

    Attributes:
        expand_to: Shorter texts are filled up with ``expansion_id`` to so many tokens; 0 for no expansion (Khattab and
            Zaharia 2020, ColBERT).
        expansion_id: Token id of the expansion, usually the mask token.
        attends_to_expansion: True if the network's attention includes the tokens of the expansion.
        dropped_ids: Token ids without a vector in the result.
        kept_ids: The only token ids with a vector in the result; None for all.
    """

    expand_to: int = 0
    expansion_id: int = 0
    attends_to_expansion: bool = False
    dropped_ids: tuple[int, ...] = ()
    kept_ids: tuple[int, ...] | None = None
