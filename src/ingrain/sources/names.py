"""Turns a user's name of a model into its id on the hub, by the rule of its source library."""

from __future__ import annotations

import re
from collections.abc import Callable

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.sources.model_source import SourceSpec, quoted
from ingrain.sources.pretrained_weights import timm_repo
from ingrain.vocabulary import Library

MAX_REVISION_CHARS = 255

_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]*(/[A-Za-z0-9_][A-Za-z0-9_.+@=-]*)*")

# Models of the time before the hub had organizations. sentence-transformers looks for every other bare name below the
# organization of its own (`ORIGINAL_TRANSFORMER_MODELS` there; a test holds the two lists together).
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
    """Return the hub's id of a model, as its source library would look it up.

    Raises:
        InvalidRequestError: The name cannot be the id of a model on the hub.
        SourceNotFoundError: timm has no such model.
    """
    repo_id = without_hub_prefix(name, library)
    if repo_id == name and "/" not in name:
        repo_id = _ID_OF_BARE_NAME.get(library, str)(name)
    return check_repo_id(repo_id, name)


def needs_registry(spec: SourceSpec) -> bool:
    """Return True where a model may be named so that its library has to be imported to find its weights."""
    facts = LIBRARIES[spec.library]
    says_where = spec.name.startswith((*facts.hub_prefixes, facts.local_prefix or "://"))
    # `ViT-B/32` is an architecture of OpenCLIP's; timm has none with a slash.
    return facts.has_registry and not says_where and ("/" not in spec.name or facts.has_pretrained_tag)


def without_hub_prefix(name: str, library: Library) -> str:
    """Return a name without the prefix that says that the model is on the hub (``hf-hub:``)."""
    for prefix in LIBRARIES[library].hub_prefixes:
        name = name.removeprefix(prefix)
    return name


def _with_organization(name: str) -> str:
    return name if name.lower() in BARE_NAMES else f"sentence-transformers/{name}"


# Other libraries' bare names are ids as they are, or, OpenCLIP's, architectures.
_ID_OF_BARE_NAME: dict[Library, Callable[[str], str]] = {
    "sentence_transformers": _with_organization,
    "timm": timm_repo,
}


def check_repo_id(repo_id: str, shown: str) -> str:
    """Return what is a well-formed id on the hub.

    Args:
        repo_id: The id.
        shown: What the user wrote.

    Raises:
        InvalidRequestError: It cannot be one.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidRequestError(
            f"{quoted(shown)} is neither a folder below the directory of local models nor a hub id, which is one name "
            "or 'organization/name' in letters, digits, '-', '_' and '.', at most 96 characters.",
            param="name",
        ) from error
    return repo_id


def check_revision(revision: str) -> None:
    """Refuse what git cannot have as a branch, tag or commit: revisions are parts of paths in the hub's cache.

    Raises:
        InvalidRequestError: The revision is malformed.
    """
    if len(revision) > MAX_REVISION_CHARS or not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidRequestError(
            f"{quoted(revision)} cannot be a branch, tag or commit on the hub "
            f"(letters, digits and '-_.+@=/', at most {MAX_REVISION_CHARS} characters).",
            param="revision",
        )
