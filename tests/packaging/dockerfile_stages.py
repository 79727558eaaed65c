"""Reads a Dockerfile as stages, each with its base and its instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One ``FROM`` and what follows it.

    Attributes:
        name: What ``AS`` calls the stage.
        base: An earlier stage's name, or an image.
        steps: Instruction in capitals and its text, continuation lines joined, in order.
    """

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        """Return the texts of all instructions of one kind."""
        return [text for kind, text in self.steps if kind == instruction]


def read_stages(dockerfile: Path) -> dict[str, Stage]:
    """Return the stages of a Dockerfile by name, in order.

    Args:
        dockerfile: File in which every ``FROM`` has an ``AS``.
    """
    with dockerfile.open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    stages: dict[str, Stage] = {}
    for entry in structure:
        kind, text = entry["instruction"], " ".join(entry["value"].split())
        if kind == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", text).groups()
            stages[name] = Stage(name=name, base=base)
        elif kind != "COMMENT":
            list(stages.values())[-1].steps.append((kind, text))
    return stages


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """Return a stage and the stages that it is built upon, the first one first."""
    stage = stages[name]
    return [*(lineage(stages, stage.base) if stage.base in stages else []), stage]


def environment(stages: list[Stage], outer: dict[str, str]) -> dict[str, str]:
    """Return the variables that ``ENV`` sets in these stages, with ``$NAME`` replaced as Docker does.

    Args:
        stages: Stages in the order in which they are built.
        outer: Variables that are set before the first of them.
    """
    variables = dict(outer)
    for stage in stages:
        for text in stage.values("ENV"):
            for name, value in re.findall(r"(\w+)=(\S+)", text):
                variables[name] = re.sub(r"\$(\w+)", lambda match: variables.get(match[1], ""), value)
    return variables
