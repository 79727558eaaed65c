"""Converts a user's name of a model to a hub id, by the rules of the source library."""

from __future__ import annotations

import re
from collections.abc import Callable

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.sources.model_source import SourceSpec, quoted
from ingrain.sources.pretrained_weights import timm_repo
from ingrain.sources.published_names import is_indexed
from ingrain.vocabulary import Library

MAX_REVISION_CHARS = 255

_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@=-]*)*")

# Models from before the hub had organizations. sentence-transformers looks for every other bare name in its own
# organization (its list is `ORIGINAL_TRANSFORMER_MODELS`; a test compares the two lists).
BARE_NAMES = frozenset(
    f"{family}-{variant}" if variant else family
    for family, variants in {
        "albert": "base-v1 base-v2 large-v1 large-v2 xlarge-v1 xlarge-v2 xxlarge-v1 xxlarge-v2",
        "bert-base": "cased cased-finetuned-mrpc chinese german-cased german-dbmdz-cased german-dbmdz-uncased "
        "multilingual-cased multilingual-uncased uncased",
        "bert-large": "cased cased-whole-word-masking cased-whole-word-masking-finetuned-squad uncased "
        "uncased-whole-word-masking uncased-whole-word-masking-finetuned-squad",
        "camembert": "base",
        "distilbert-base": "cased cased-distilled-squad german-cased multilingual-cased uncased "
        "uncased-distilled-squad uncased-finetuned-sst-2-english",
        "distilroberta": "base",
        "gpt2": "large medium xl",
        "openai": "gpt",
        "roberta-base": "openai-detector",
        "roberta-large": "mnli openai-detector",
        "t5": "11b 3b base large small",
        "transfo-xl": "wt103",
        "xlm-clm": "ende-1024 enfr-1024",
        "xlm-mlm": "100-1280 17-1280 en-2048 ende-1024 enfr-1024 enro-1024 tlm-xnli15-1024 xnli15-1024",
        "xlm-roberta": "base large large-finetuned-conll02-dutch large-finetuned-conll02-spanish "
        "large-finetuned-conll03-english large-finetuned-conll03-german",
        "xlnet": "base-cased large-cased",
    }.items()
    for variant in variants.split()
) | {"ctrl", "distilgpt2", "gpt2", "roberta-base", "roberta-large"}


def hub_id(name: str, library: Library) -> str:
    """Return the hub id under which the source library would look up a model.

    Raises:
        InvalidRequestError: The name is not a valid hub id.
        SourceNotFoundError: timm has no such model.
    """
    repo_id = without_hub_prefix(name, library)
    if repo_id == name and "/" not in name:
        repo_id = _ID_OF_BARE_NAME.get(library, str)(name)
    return check_repo_id(repo_id, name)


def needs_registry(spec: SourceSpec) -> bool:
    """Return True if the name may be in the library's own list of models, and only the library can tell."""
    facts = LIBRARIES[spec.library]
    has_prefix = spec.name.startswith((*facts.hub_prefixes, facts.local_prefix or "://"))
    # `ViT-B/32` is an architecture of OpenCLIP; timm's architectures have no slash.
    may_be_own = facts.has_registry and not has_prefix and ("/" not in spec.name or facts.has_pretrained_tag)
    return may_be_own and not is_indexed(spec.library)


def without_hub_prefix(name: str, library: Library) -> str:
    """Return a name without the prefix that marks a model on the hub (``hf-hub:``)."""
    for prefix in LIBRARIES[library].hub_prefixes:
        name = name.removeprefix(prefix)
    return name


def _with_organization(name: str) -> str:
    return name if name.lower() in BARE_NAMES else f"sentence-transformers/{name}"


# For other libraries a bare name is the hub id itself (OpenCLIP's architectures do not get here).
_ID_OF_BARE_NAME: dict[Library, Callable[[str], str]] = {
    "sentence_transformers": _with_organization,
    "timm": timm_repo,
}


def check_repo_id(repo_id: str, shown: str) -> str:
    """Return a hub id after checking that it is well-formed.

    Args:
        repo_id: The id.
        shown: The user's name of the model, for the error message.

    Raises:
        InvalidRequestError: The id is malformed.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidRequestError(
            f"{quoted(shown)} is neither a folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR) nor a "
            "hub id, which is one name or 'organization/name' in letters, digits, '-', '_' and '.', at most 96 "
            "characters.",
            param="name",
        ) from error
    return repo_id


def check_revision(revision: str) -> None:
    """Refuse a revision that cannot be a git branch, tag or commit; revisions become paths in the hub's cache.

    Raises:
        InvalidRequestError: The revision is malformed.
    """
    if len(revision) > MAX_REVISION_CHARS or not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidRequestError(
            f"{quoted(revision)} cannot be a branch, tag or commit on the hub "
            f"(letters, digits and '-_.+@=/', at most {MAX_REVISION_CHARS} characters).",
            param="revision",
        )
