"""`ingrain rerank`: documents of the command line and of files, for people and for programs."""

import json
import os

import pytest


@pytest.fixture
async def reranker(planes):
    body = {"name": "reranker", "library": "sentence_transformers", "task": "rerank"}
    assert (await planes.model.post("/load_model", json=body)).status_code == 200
    return ["rerank", "--model", "reranker", "--query", "red"]


async def test_documents_are_printed_the_best_first(ingrain, reranker, tmp_path):
    status, printed, _ = await ingrain(*reranker, "--document", "green", "--document", "w1  w2", "--json")
    assert status == 0
    results = json.loads(printed)["results"]
    assert sorted((one["index"], one["document"]) for one in results) == [(0, "green"), (1, "w1  w2")]
    assert results[0]["score"] >= results[1]["score"]
    (tmp_path / "documents.jsonl").write_text('{"body": "green"}\n{"body": "w1  w2"}\n')
    status, printed, _ = await ingrain(*reranker, str(tmp_path / "documents.jsonl"), "--field", "body", "--top", "1")
    assert status == 0
    score, index, text = printed.split(maxsplit=2)
    assert (float(score), int(index)) == (pytest.approx(results[0]["score"], abs=1e-5), results[0]["index"])
    assert text.strip() == " ".join(results[0]["document"].split())


async def test_standard_input_is_read_and_no_character_ends_the_command(start, reranker):
    """Not even one that the encoding of the output lacks, as in a pipe on Windows."""
    process = await start(*reranker, "-", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    printed, complained = await process.communicate("grün 日本\nw1\n".encode())
    assert process.returncode == 0, complained.decode()
    assert sorted(line.split()[1] for line in printed.decode("ascii").splitlines()) == ["0", "1"]
    assert b"gr\\xfcn \\u65e5\\u672c" in printed


async def test_a_reader_that_has_gone_ends_the_command_quietly(start, reranker):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = await start(*reranker, "--document", "green", stdout=writer, env=environment)
    os.close(writer)
    _, complained = await process.communicate()
    assert (process.returncode, complained) == (130, b"")


async def test_wrong_usage_and_the_servers_errors_are_told(ingrain, reranker, tmp_path):
    assert (await ingrain(*reranker))[0] == 2
    (tmp_path / "empty.txt").write_text("")
    assert (await ingrain(*reranker, str(tmp_path / "empty.txt")))[0] == 2
    status, _, complained = await ingrain("rerank", "--model", "org/model", "--query", "red", "--document", "green")
    assert (status, "POST /embed_text" in complained) == (1, True)
