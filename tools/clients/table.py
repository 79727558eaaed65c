"""Writes what every client could do as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clients.program import Program

COLUMNS = ("embed", "batch", "base64", "dimensions", "rerank", "errors", "retry_on_429")
_HEAD = (
    "<!-- Written by `make clients`; do not edit. -->\n\n# Clients of other APIs\n\n"
    "Each row is an unmodified client in an environment of its own, which ran against a real server: embedding one "
    "text, a batch, base64, fewer dimensions,\nreranking, what it raises for wrong requests, and whether it tries "
    "again by itself after a 429. Vectors and scores were compared with those of\nIngrain's own API (differences of at "
    'most 1e-6). "–": the client has no such thing. The programs are in `tools/clients/programs/`.\n\n'
)


def render(results: Mapping[Program, Mapping[str, str]], facts: str) -> str:
    """Return the page.

    Args:
        results: By program, what each of its functions gave: ``ok``, or what it raised.
        facts: When and with what it ran, one sentence.
    """
    parts = [_HEAD, f"{facts}\n"]
    for dialect in dict.fromkeys(program.dialect for program in results):
        parts.append(f"\n## {dialect}\n\n| client | {' | '.join(map(_words, COLUMNS))} | further |\n")
        parts.append(f"| --- |{' --- |' * (len(COLUMNS) + 1)}\n")
        for program, cells in results.items():
            if program.dialect == dialect:
                parts.append(_row(program, cells))
    failures = [
        (program, name, said) for program, cells in results.items() for name, said in cells.items() if said != "ok"
    ]
    if failures:
        parts.append("\n## What failed\n\n")
        parts += [f"- {program.title}, {_words(name)}: `{said.replace('`', '')}`\n" for program, name, said in failures]
    return "".join(parts)


def _row(program: Program, cells: Mapping[str, str]) -> str:
    shown = [_mark(cells.get(column)) for column in COLUMNS]
    further = [f"{_words(name)} {_mark(said)}" for name, said in cells.items() if name not in COLUMNS]
    versions = ", ".join(program.requirements)
    return f"| {program.title} ({versions}) | {' | '.join(shown)} | {', '.join(further)} |\n"


def _mark(said: str | None) -> str:
    return "–" if said is None else "yes" if said == "ok" else "**no**"


def _words(name: str) -> str:
    return name.replace("_", " ")


def count(results: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    """Return how many cells are ``ok``, and how many there are."""
    said = [one for cells in results for one in cells.values()]
    return sum(one == "ok" for one in said), len(said)
