"""Applies the rules that sentence-transformers ties to a model's name.

The library ties rules to what a model is called, and does not see that name where it loads a folder. These are the
rules of its constructor; the one for names without an organization stands in ``sources/names.py``.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("ingrain.export")

# `SentenceTransformer.__init__`: their prompts are instructions, which the pooling leaves out.
PROMPT_LEFT_OUT = ("hkunlp/instructor-base", "hkunlp/instructor-large", "hkunlp/instructor-xl")


def apply_named_rules(model: Any, name: str) -> None:
    """Change a model that was loaded from a folder into what the library would have loaded by the model's name."""
    if name in PROMPT_LEFT_OUT:
        model.set_pooling_include_prompt(include_prompt=False)
    elif "instructor" in name.partition("/")[2].lower() and any(
        getattr(part, "include_prompt", False) for part in model
    ):
        # As the library: by this name alone it warns, and pools as the model's files say.
        logger.warning(
            "The prompt counts in the pooling of %r, as its configuration says; most instructor models want it left "
            "out ('include_prompt': false in the configuration of the module Pooling).",
            name,
        )
