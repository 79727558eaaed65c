"""Applies the rules that sentence-transformers ties to a model's name.

The library's constructor changes some models by their names, which it does not see when it loads a folder. Its rule for
names without an organization is in ``sources/names.py``.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("ingrain.export")

# From `SentenceTransformer.__init__`: their prompts are instructions, which pooling must exclude.
PROMPT_LEFT_OUT = ("hkunlp/instructor-base", "hkunlp/instructor-large", "hkunlp/instructor-xl")


def apply_named_rules(model: Any, name: str) -> None:
    """Change a model that was loaded from a folder as the library would have changed it by the model's name."""
    if name in PROMPT_LEFT_OUT:
        model.set_pooling_include_prompt(include_prompt=False)
    elif "instructor" in name.partition("/")[2].lower() and any(
        getattr(part, "include_prompt", False) for part in model
    ):
        # For any other name with "instructor" the library only warns.
        logger.warning(
            "The pooling of %r includes the prompt, as its configuration says; most instructor models exclude it "
            "('include_prompt': false in the configuration of the Pooling module).",
            name,
        )
