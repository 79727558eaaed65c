import asyncio
import sys

import pytest

from client_api import in_thread
from ingrain.cli.main import main
from ingrain.settings import Settings
from planes import running_planes


@pytest.fixture
async def planes(tmp_path, monkeypatch):
    """Both planes in this process, with a model of each library; commands find them through the environment."""
    # Without a cache, so that a command that is run again takes as long and asks the engine for as much.
    async with running_planes(tmp_path / "root", Settings(cache_bytes=0)) as planes:
        for name, library in (("org/model", "sentence_transformers"), ("clip", "open_clip"), ("net", "timm")):
            await planes.load(name, library)
        monkeypatch.setenv("INGRAIN_INFERENCE_URL", str(planes.inference.base_url))
        monkeypatch.setenv("INGRAIN_MODEL_URL", str(planes.model.base_url))
        monkeypatch.chdir(tmp_path)
        yield planes


@pytest.fixture
def ingrain(planes, capfd):
    """Run a command in this process; return its exit status, what it printed, and what it complained."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()

        def command() -> int:
            try:
                return main(list(arguments))
            except SystemExit as usage:  # argparse's own way out
                return int(usage.code or 0)

        status = await in_thread(command)
        sys.stdout.flush()
        printed, complained = capfd.readouterr()
        return status, printed, complained

    return run


@pytest.fixture
def start(planes):
    """Start a command in a process of its own."""

    async def run(*arguments: str, **options) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        options = {"stdin": pipe, "stdout": pipe, "stderr": pipe, **options}
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "ingrain", *arguments, **options)

    return run
