"""The operator's decisions that handlers need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneLimits:
    """Limits of requests, under the names of their settings; where they are read, ``Settings`` explains them."""

    max_requests: int
    max_items: int
    max_body_bytes: int
    max_text_chars: int
    openai_max_items: int
    openai_token_ids: Literal["cl100k_base", "own", "refuse"]
