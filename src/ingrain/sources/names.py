"""Receives what the user calls a model, and hands on its id on the hub."""

from __future__ import annotations

import re

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ingrain.errors import InvalidRequestError, SourceNotFoundError
from ingrain.vocabulary import Library

MAX_REVISION_CHARS = 255
# As OpenCLIP and timm write where a model is.
HUB_PREFIX, LOCAL_PREFIX = "hf-hub:", "local-dir:"

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
    """Return the hub's id of a model, as the source library would look it up.

    Args:
        name: What the user wrote.
        library: The source library, whose rule for names applies.

    Raises:
        InvalidRequestError: The name cannot be the id of a model on the hub.
        SourceNotFoundError: timm has no such model.
    """
    if library == "timm":
        from ingrain.sources.registries import timm_repo

        repo_id = name.removeprefix(HUB_PREFIX).removeprefix("hf_hub:")
        if repo_id == name and "/" not in name:
            repo_id = timm_repo(name)
    else:
        repo_id = f"sentence-transformers/{name}" if "/" not in name and name.lower() not in BARE_NAMES else name
    return check_repo_id(repo_id, name)


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
            f"{_shown(shown)} is neither a folder below the directory of local models nor a hub id, which is one name "
            "or 'organization/name' in letters, digits, '-', '_' and '.', at most 96 characters.",
            param="name",
        ) from error
    return repo_id


def missing_folder(name: str) -> SourceNotFoundError:
    """Return the error of a name that must be a local folder, and is none."""
    return SourceNotFoundError(f"{_shown(name)} is no folder below the directory of local models.", param="name")


def check_revision(revision: str) -> None:
    """Refuse what git cannot have as a branch, tag or commit: revisions are parts of paths in the hub's cache.

    Raises:
        InvalidRequestError: The revision is malformed.
    """
    if len(revision) > MAX_REVISION_CHARS or not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidRequestError(
            f"{_shown(revision)} cannot be a branch, tag or commit on the hub "
            f"(letters, digits and '-_.+@=/', at most {MAX_REVISION_CHARS} characters).",
            param="revision",
        )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…")
