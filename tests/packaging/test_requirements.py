"""The lock: every version is pinned, in one place, and is what these tests run on."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ingrain.install_hint import install_hint

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"


def lines(name: str) -> list[str]:
    """Return a requirements file's lines without comments."""
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    return [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]


PINNED = dict(line.split("==") for line in lines("constraints.txt"))


NOT_INSTALLED_FOR_CHECKS = {"ray", "spark"}
"""Extras of 100 and 400 MB, each for a few tests that are skipped without it."""


def needed() -> list[Requirement]:
    """Return every requirement of the project, its extras, its build and its checks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    texts = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(
            text
            for name, extra in project["project"]["optional-dependencies"].items()
            for text in extra
            if name not in NOT_INSTALLED_FOR_CHECKS
        ),
        *lines("dev.txt"),
    ]
    found = [Requirement(text) for text in texts]
    return [requirement for requirement in found if requirement.name != "ingrain"]


def test_every_requirement_is_pinned_within_its_range():
    """Nothing that the project asks for is left to what an index offers today."""
    for requirement in needed():
        pin = PINNED.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt: run `make lock`"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} does not allow {pin}"


def test_versions_held_by_hand_are_in_the_lock():
    """`make lock` has been run since pins.txt was changed."""
    assert {(name, PINNED.get(name)) for name in (line.split("==")[0] for line in lines("pins.txt"))} == {
        tuple(line.split("==")) for line in lines("pins.txt")
    }


def test_the_tests_run_on_the_pinned_versions():
    """What is installed here is what the lock says; a build label (`+cpu`) does not count."""
    differing = {}
    for name, pin in PINNED.items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            installed = "not installed"
        if installed != pin:
            differing[name] = (installed, pin)
    assert differing == {}


@pytest.mark.parametrize("name", sorted(path.name for path in REQUIREMENTS.glob("*.txt")))
def test_no_index_is_named(name):
    """Where packages come from is the machine's business: no URL, no index, no links."""
    assert not re.search(r"://|index-url|find-links|trusted-host", (REQUIREMENTS / name).read_text(encoding="utf-8"))


HASHED = re.compile(r'([a-z0-9.-]+)==(\S+) ; python_version == "3\.11" and .+ --hash=sha256:[0-9a-f]{64}')


@pytest.mark.parametrize("name", sorted(path.name for path in REQUIREMENTS.glob("hashes*.txt")))
def test_files_with_hashes_are_those_of_the_lock(name):
    """Each line has the version of the lock and a hash: `make lock` writes all of them together."""
    found = [HASHED.fullmatch(line) for line in lines(name)]
    assert all(found)
    versions = {line[1]: line[2] for line in found}
    data = dict(line.split("==") for line in lines("models.txt"))
    assert versions == {package: (PINNED | data).get(package) for package in versions}


def test_everything_that_is_installed_for_the_checks_has_a_hash():
    """But for PyTorch, of whose versions there are several builds."""
    hashed = {line.partition("==")[0] for line in lines("hashes.txt")}
    assert PINNED.keys() - hashed == {"torch", "torchvision"}
    assert {line.partition("==")[0] for line in lines("hashes-models.txt")} == {
        line.partition("==")[0] for line in lines("models.txt")
    }


def test_packages_of_data_are_exact():
    """The real models and texts are part of what tests measure, so their versions are exact."""
    assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+", line) for line in lines("models.txt"))


def test_every_documented_install_of_pytorch_takes_the_pinned_build_for_cpus():
    """Extras that bring PyTorch are installed with the constraints, in the pages and in what messages tell."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    found = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines() if "pip install" in line]
    installs = [line for line in (*found, install_hint("export")) if re.search(r"\.\[[^]]*\b(all|export)\b", line)]
    assert len(installs) >= 4
    assert [line for line in installs if "-c requirements/constraints.txt" not in line] == []
