"""Finds what a model's chat template puts around the texts of a pair, by rendering it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from ingrain.export.model_files import unsupported
from ingrain.preprocess.chat_pairs import render
from ingrain.repository.pair_template import PairTemplate, Slot

# Words that no template contains and no filter of a template changes, one for each place.
_MARKS = {"first": "qfirstq7", "second": "qsecondq7", "prompt": "qpromptq7"}
_DATE = "strftime_now"
_PROBES = ("", " ", "a", "river stone", "  two  spaces \n", "\tline\n\nline\n", "{{ 1 }} <b>{% x %}</b> & \"'\\n", "É")


def pair_template_of(module: Any) -> PairTemplate | None:
    """Return how a ``Transformer`` module renders a pair; None if it tokenizes pairs without a chat template.

    Raises:
        UnsupportedModelError: The template has no place for one of the texts, or changes them.
    """
    if "message" not in module.modality_config:
        return None
    from jinja2 import TemplateError

    if _DATE in str(module.processor.chat_template):
        raise unsupported("The model's chat template writes today's date, so that scores would change by the day.")
    options = dict(module.processing_kwargs.get("chat_template", {}))
    keeps_end = bool(options.pop("restore_suffix", True))
    formatter = module.input_formatter
    if formatter.pair_roles_failure(options) is not None:
        raise unsupported(
            "The model's chat template has no places for the roles 'query' and 'document', so sentence-transformers "
            "cannot score pairs of texts with it. Save the model with a chat template that has both, as the "
            "documentation of reranking shows."
        )

    def rendered(pair: tuple[str, str], prompt: str | None) -> str:
        contents = [{"role": role, "content": text} for role, text in zip(("query", "document"), pair, strict=True)]
        if prompt:
            contents.insert(0, {"role": "system", "content": prompt})
        # Not by ``pair_to_messages``, which takes the address of an image for the image.
        messages = formatter.normalize_messages(contents)
        return str(module.processor.apply_chat_template(messages, tokenize=False, **options))

    pairs = [(first, second) for first in _PROBES for second in _PROBES]
    own = _texts_with_words_of(module.processor.chat_template)
    pairs += [*zip(own, own, strict=True)]
    prompted = [(*pair, "find") for pair in pairs] + [("b", "c", prompt) for prompt in (*_PROBES, *own) if prompt]
    without = _parts(rendered, None, [(*pair, "") for pair in pairs])
    try:
        rendered(("a", "b"), "find")
    except TemplateError:  # some templates refuse a system message
        return PairTemplate(without_prompt=without, with_prompt=None, keeps_end=keeps_end)
    return PairTemplate(
        without_prompt=without, with_prompt=_parts(rendered, _MARKS["prompt"], prompted), keeps_end=keeps_end
    )


def _texts_with_words_of(template: Any) -> list[str]:
    """Return texts with each of the words that a template names, in case it looks for them in the texts of a pair."""
    from jinja2 import Environment

    sources = template.values() if isinstance(template, dict) else [template]
    lexer = Environment().lexer  # noqa: S701  # it renders nothing
    words = {token.value for source in sources for token in lexer.tokenize(source) if token.type == "string"}
    return [f"a {word} stone {word}" for word in sorted(words)]


def _parts(
    rendered: Callable[[tuple[str, str], str | None], str], prompt: str | None, probes: Sequence[tuple[str, str, str]]
) -> tuple[str | Slot, ...]:
    """Return the parts of a template; with them, every probe becomes what the template makes of it.

    Args:
        rendered: Renders the template for a pair and a prompt.
        prompt: The prompt in whose place the template has one; None for a pair without a prompt.
        probes: Pairs, each with a prompt, which may be empty.
    """
    places = {mark: name for name, mark in _MARKS.items()}
    text = rendered((_MARKS["first"], _MARKS["second"]), prompt)
    pieces = [piece for piece in re.split(f"({'|'.join(places)})", text) if piece]
    expected = [rendered(probe[:2], probe[2]) for probe in probes]
    for stripped in product((False, True), repeat=len(_MARKS)):
        strips = dict(zip(_MARKS, stripped, strict=True))
        parts = tuple(_slot(places[piece], strips) if piece in places else piece for piece in pieces)
        if [render(parts, *probe) for probe in probes] == expected:
            return parts
    raise unsupported(
        "The model's chat template changes the texts of a pair, or depends on what they contain; that is not supported."
    )


def _slot(takes: Any, strips: dict[str, bool]) -> Slot:
    return Slot(takes=takes, strip=strips[takes])
