"""The request limits that the operator sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneLimits:
    """Request limits, named like the settings; see ``Settings`` for their meaning."""

    max_requests: int
    max_items: int
    max_body_bytes: int
    max_image_body_bytes: int
    max_text_chars: int
    openai_max_items: int
    openai_token_ids: Literal["cl100k_base", "own", "refuse"]
    default_models: tuple[str, ...] = ()
