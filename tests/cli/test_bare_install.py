"""What `pip install ingrain` alone can do: the client and the commands that need a server only."""

import asyncio
import json
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
# Imports nothing but the standard library, Ingrain, and the packages given, with what these bring along.
PROGRAM = """
import json, sys
allowed = set(json.loads(sys.argv.pop(1)))
class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
from ingrain.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def bare_packages() -> set[str]:
    """Return the import names of the bare installation's packages, found by following their requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    found: set[str] = set()
    while waiting:
        name = waiting.pop().name.lower()
        if name not in found:
            found.add(name)
            needed = map(Requirement, requires(name) or [])
            waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {name.replace("-", "_") for name in found} | {"ingrain"}


@pytest.fixture
def bare(planes):
    """Run a command with nothing else installed."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, json.dumps(sorted(bare_packages())), *arguments), stdout=pipe, stderr=pipe
        )
        printed, complained = await process.communicate()
        return process.returncode, printed.decode(), complained.decode()

    return run


async def test_texts_are_embedded_and_models_managed(bare, tmp_path):
    assert {"httpx", "numpy", "tqdm"} <= bare_packages()
    assert not {"PIL", "pillow", "httptools", "torch"} & bare_packages()
    status, printed, complained = await bare("embed", "--model", "org/model", "--text", "red")
    assert status == 0, complained
    assert len(json.loads(printed)["embedding"]) == 8
    for command in (["models"], ["load", "other"], ["unload", "other"], ["delete", "other", "--yes"], ["--help"]):
        status, _, complained = await bare(*command)
        assert status == 0, complained
    status, _, complained = await bare(*("embed", "--model", "org/model", "--text", "red", "-o", "out.npy"))
    assert status == 0, complained


async def test_what_needs_more_says_what(bare, tmp_path):
    """No traceback, and the package that is missing."""
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    for command, what in (
        (["serve"], "pip install '.[serve,triton]'"),
        (["embed", "--model", "org/model", "--text", "red", "-o", "out.parquet"], "pip install '.[parquet]'"),
        (["embed", "--model", "clip", "--images", "--shrink", str(picture)], "pip install pillow"),
    ):
        status, _, complained = await bare(*command)
        assert status in (1, 2)
        assert what in complained
        assert "Traceback" not in complained
    status, printed, complained = await bare("doctor")
    assert "Traceback" not in complained + printed
    assert "FAIL  ingrain[serve]" not in printed or status == 1
