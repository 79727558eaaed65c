"""Every example of docs/cli.md, and of the help of the commands, runs."""

import argparse
import asyncio
import os
import shlex
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

from documents import examples
from images import encode, scene
from ingrain.cli.main import make_parser
from keys_files import entry, write_keys
from planes import running_planes

# Run elsewhere: a server of its own, a load of half a minute, a real model and its source, a bundle of models.
NOT_HERE = {"serve", "bench", "verify", "bundle"}
# Its graph gives several rows for a text, which the fake engine does not: tests/e2e/test_multi_vector_served.py.
NOT_WITH_A_FAKE = "--multi-vector"
# Needs Ray and object storage: tests/bulk.
ELSEWHERE = "--ray"


@pytest.fixture
async def shell(tmp_path, monkeypatch):
    """Run a line in a shell, where the files and models that examples speak of are."""
    names = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2", "BAAI/bge-m3")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encode(scene(300, 200), "JPEG"))
    for file in ("texts.txt", "queries.txt"):
        (tmp_path / file).write_text("w2\nw1\nw2\n")
    (tmp_path / "documents.txt").write_text("w2\nw1\n")
    (tmp_path / "documents.jsonl").write_text('{"body": "w2"}\n{"body": "w1"}\n')
    (tmp_path / "news.csv").write_text("id,title\n1,w1\n2,w2\n")
    (tmp_path / "articles").mkdir()
    parquet.write_table(pa.table({"text": ["w1", "w2"]}), tmp_path / "articles" / "a.parquet")
    async with running_planes(tmp_path / "root") as planes:
        for name in names:
            await planes.load(name)
        sparse = {"name": "splade-v3", "library": "sentence_transformers", "task": "embed_sparse"}
        assert (await planes.model.post("/load_model", json=sparse)).status_code == 200
        clip = {"name": "ViT-B-32", "library": "open_clip", "pretrained": "laion2b_s34b_b79k"}
        assert (await planes.model.post("/load_model", json=clip)).status_code == 200
        reranker = {"name": "BAAI/bge-reranker-base", "library": "sentence_transformers", "task": "rerank"}
        assert (await planes.model.post("/load_model", json=reranker)).status_code == 200
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "INGRAIN_INFERENCE_URL": str(planes.inference.base_url),
            "INGRAIN_MODEL_URL": str(planes.model.base_url),
            "INGRAIN_INFERENCE_PORT": "0",
            "INGRAIN_MODEL_PORT": "0",
            "HF_HUB_OFFLINE": "1",
        }

        async def run(line: str) -> str:
            code = f'set -euo pipefail; ingrain() {{ "{sys.executable}" -m ingrain "$@"; }}; {line}'
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *("bash", "-c", code), cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe
            )
            printed, complained = await process.communicate()
            assert process.returncode == 0, f"{line}\n{complained.decode()}"
            return printed.decode()

        yield run


def help_examples() -> dict[str, list[str]]:
    """Return the examples of each command's help."""
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = {}
    for name, parser in commands.choices.items():
        lines = (parser.epilog or "").partition("\n\n")[0].splitlines()[1:]
        found[name] = [line.strip() for line in lines]
    return found


def test_every_command_has_examples_that_its_own_parser_takes():
    """Examples of commands that are not run here name only flags that exist."""
    for name, lines in help_examples().items():
        assert lines, name
        for line in lines:
            words = shlex.split(line.partition("   #")[0].partition(" > ")[0])
            words = words[words.index("ingrain") + 1 :]
            assert make_parser().parse_args(words).command == name


async def test_every_example_of_the_page_runs(shell, tmp_path):
    """Models and completion are changed as the page goes, so its lines run in their order."""
    lines = [line for block in examples("docs/cli.md", "sh") for line in block.splitlines()]
    assert len(lines) >= 17
    for line in lines:
        if line.split()[1] not in NOT_HERE and ELSEWHERE not in line:
            await shell(line)
    made = ("vectors.npy", "news.parquet", "plain.csv", "vectors.jsonl", "photos.jsonl")
    assert all((tmp_path / name).stat().st_size for name in made)


async def test_every_command_of_the_readme_runs(shell):
    """All but `serve`, which the end-to-end tests start with real models."""
    lines = [line for block in examples("README.md", "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("ingrain ") and line.split()[1] not in NOT_HERE]
    assert len(commands) >= 3
    for line in commands:
        await shell(line)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (name, line)
        for name, lines in help_examples().items()
        if name not in NOT_HERE
        for line in lines
        if NOT_WITH_A_FAKE not in line and ELSEWHERE not in line
    ],
)
async def test_every_example_of_the_help_runs(shell, tmp_path, name, line):
    """Each alone, in a fresh place."""
    for folder in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (tmp_path / folder).mkdir(parents=True)
    if name == "keys" and " add " not in line:
        write_keys(tmp_path / "keys.json", entry("search"))
    await shell(line.replace("INGRAIN_REPOSITORY=/repository", f"INGRAIN_REPOSITORY={tmp_path}/repository"))
