"""Decides which repositories' Python code may be run while a model is converted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

SETTING = "INGRAIN_TRUST_REMOTE_CODE"
EVERYBODY = "*"

_PROPOSAL = re.compile(r"(refs/)?pr/\d+")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


def trusted_commits(repository: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Return the commits of a repository whose code may be run; an empty string means all commits.

    Args:
        repository: The hub's id, or the name of a local folder.
        allowed: Allowed repositories, each a ``pattern`` or ``pattern@commit``.

    >>> trusted_commits("nomic-ai/nomic-bert-2048", ("nomic-ai/*",)), trusted_commits("me/new", ("nomic-ai/*",))
    (('',), ())
    """
    entries = (entry.partition("@") for entry in allowed)
    # Owners on the hub are unique regardless of case.
    return tuple(commit for pattern, _, commit in entries if fnmatchcase(repository.lower(), pattern.lower()))


def is_trusted(repository: str, commit: str | None, allowed: Iterable[str]) -> bool:
    """Return True if the code of a repository at a commit may be run; a local folder has no commit.

    >>> pinned = ("me/code@" + "0" * 40,)
    >>> is_trusted("me/code", "0" * 40, pinned), is_trusted("me/code", "1" * 40, pinned)
    (True, False)
    """
    commits = trusted_commits(repository, allowed)
    return "" in commits or commit in commits


def is_proposal(revision: str) -> bool:
    """Return True for the revision of a pull request, which anybody may have written.

    >>> is_proposal("refs/pr/7"), is_proposal("main")
    (True, False)
    """
    return bool(_PROPOSAL.fullmatch(revision))


def may_be_anybodys(revision: str) -> bool:
    """Return True if others than the owner may have written a revision: a pull request, or a commit, perhaps of one."""
    return is_proposal(revision) or bool(_COMMIT.fullmatch(revision))


def how_to_allow(repositories: Iterable[str]) -> str:
    """Return the sentence that tells the operator how to allow the code of these repositories."""
    return f"Add {','.join(repositories)!r} to {SETTING}, or set it to 'true' to run the code of any model."
