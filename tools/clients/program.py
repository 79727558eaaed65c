"""Finds the programs of clients, and makes the environment that each one needs."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
_HARNESS = Path(__file__).parent
_HEADER = re.compile(r"^(?:#|//) (requirements|dialect|title): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """The program of one client.

    Attributes:
        file: The program.
        requirements: Packages with their versions, of PyPI or npm.
        dialect: Name of the API that the client speaks.
        title: Name of the client in the table.
    """

    file: Path
    requirements: tuple[str, ...]
    dialect: str
    title: str

    @property
    def is_for_node(self) -> bool:
        """Whether it is a program for Node.js."""
        return self.file.suffix == ".mjs"

    def install(self, environments: Path) -> list[str]:
        """Install the client into an environment of its own, unless it is there; return the command that runs it."""
        name = hashlib.sha256(" ".join(self.requirements).encode()).hexdigest()[:16]
        folder = environments / f"{self.file.stem}-{name}"
        is_done = folder / "installed"
        if not is_done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            (_install_node if self.is_for_node else _install_python)(folder, self.requirements)
            is_done.touch()
        if self.is_for_node:  # modules are found from the folder of the file that imports them
            shutil.copy(self.file, folder / self.file.name)
            return ["node", str(_HARNESS / "harness.mjs"), str(folder / self.file.name)]
        return [str(folder / "bin" / "python"), str(_HARNESS / "harness.py"), str(self.file)]


def find_programs(only: list[str]) -> list[Program]:
    """Return the programs, sorted by dialect and title; only those of some names if any are given."""
    files = sorted(file for file in PROGRAMS.iterdir() if file.suffix in (".py", ".mjs"))
    programs = []
    for file in files:
        if only and file.stem not in only:
            continue
        facts = dict(_HEADER.findall(file.read_text("utf-8")))
        programs.append(Program(file, tuple(facts["requirements"].split()), facts["dialect"], facts["title"]))
    return sorted(programs, key=lambda program: (program.dialect, program.title.lower()))


def _install_python(folder: Path, requirements: tuple[str, ...]) -> None:
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True, stdout=sys.stderr)


def _install_node(folder: Path, requirements: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    subprocess.run([*npm, *requirements], check=True, stdout=sys.stderr)
