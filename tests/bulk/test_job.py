"""Jobs: what an interruption leaves, what continues it, and what is refused."""

import asyncio
import json
import os
import signal
import sys

import numpy as np
import orjson
import pyarrow.dataset
import pytest

from bulk_repository import TEXT_MODEL, expected_vectors, numbered, write_repository
from ingrain.bulk.here import run_here
from ingrain.bulk.job import NOTE, Options, make_part, open_job
from ingrain.bulk.opened import Place
from ingrain.bulk.storage import filesystem_of, write_whole
from ingrain.bulk.wanted import Found, Wanted
from ingrain.errors import IngrainError, SettingsError

OPTIONS = Options(wanted=Wanted(model=TEXT_MODEL), rows_a_part=10)
TEXTS = numbered(95)


@pytest.fixture
def given(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b"".join(orjson.dumps({"id": n, "text": text}) + b"\n" for n, text in enumerate(TEXTS)))
    return file


def run(given, output, repository, options=OPTIONS, **more) -> int:
    job, rows = open_job([str(given)], str(output), options, **more), []
    run_here(job, Place(repository=str(repository)), rows.append)
    return sum(rows)


def check_vectors(output, texts=TEXTS) -> None:
    table = pyarrow.dataset.dataset(str(output), format="parquet").to_table()
    assert table["id"].to_pylist() == list(range(len(texts)))
    assert table["text"].to_pylist() == texts
    found = np.stack(table["embedding"].to_numpy())
    np.testing.assert_allclose(found, expected_vectors(texts), atol=1e-6)


def test_parts_hold_every_row_in_order_with_its_columns(given, tmp_path, repository):
    assert run(given, tmp_path / "out", repository) == len(TEXTS)
    check_vectors(tmp_path / "out")


def test_only_missing_parts_are_made_again(given, tmp_path, repository):
    output = tmp_path / "out"
    run(given, output, repository)
    parts = sorted(output.glob("part-*"))
    kept = {part: part.stat().st_ino for part in parts if part != parts[3]}
    parts[3].unlink()
    rows = run(given, output, repository)
    assert 0 < rows < len(TEXTS)
    assert {part: part.stat().st_ino for part in kept} == kept
    check_vectors(output)
    assert run(given, output, repository) == 0


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
def test_other_formats_hold_the_same(given, tmp_path, repository, output_format):
    options = Options(wanted=OPTIONS.wanted, output_format=output_format, without_input=True, output_column="v")
    run(given, tmp_path / "out", repository, options)
    (part,) = (tmp_path / "out").glob("part-*")
    if output_format == "jsonl":
        records = [json.loads(line) for line in part.read_text().splitlines()]
        assert [list(record) for record in records] == [["id", "v"]] * len(TEXTS)
        found = np.array([record["v"] for record in records])
    else:
        found = np.loadtxt(part, delimiter=",", skiprows=1)[:, 1:]
    np.testing.assert_allclose(found, expected_vectors(TEXTS), atol=1e-6)


def test_another_run_does_not_continue_the_job(given, tmp_path, repository):
    output = tmp_path / "out"
    run(given, output, repository)
    shorter = Options(wanted=Wanted(model=TEXT_MODEL, dimensions=4), rows_a_part=10)
    for options, message in ((shorter, "dimensions: None, not 4"), (Options(wanted=OPTIONS.wanted), "rows_a_part")):
        with pytest.raises(SettingsError, match=message):
            run(given, output, repository, options)
    other = write_repository(tmp_path / "other", seed=1)
    next(output.glob("part-*")).unlink()
    with pytest.raises(SettingsError, match="other weights"):
        run(given, output, other)
    given.write_bytes(given.read_bytes() + b'{"text": "w1"}\n')
    with pytest.raises(SettingsError, match="made of other input"):
        run(given, output, repository)
    assert run(given, output, repository, shorter, force=True) == len(TEXTS) + 1


def test_a_folder_of_other_files_is_left_alone(given, tmp_path, repository):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with pytest.raises(SettingsError, match="holds other files"):
        run(given, tmp_path / "out", repository)
    run(given, tmp_path / "out", repository, force=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"


def test_a_bad_row_ends_the_job_by_name_and_keeps_the_other_parts(given, tmp_path, repository):
    lines = given.read_bytes().splitlines(keepends=True)
    given.write_bytes(b"".join([*lines[:50], b'{"text": 7}\n', *lines[50:]]))
    with pytest.raises(IngrainError, match=r"holds int.*texts\.jsonl, byte \d+"):
        run(given, tmp_path / "out", repository)
    assert (tmp_path / "out" / NOTE).exists()
    with pytest.raises(SettingsError, match="no column 'words', but 'id', 'text'"):
        run(given, tmp_path / "other", repository, Options(wanted=OPTIONS.wanted, column="words"))


def test_object_storage_is_read_and_written(repository):
    pytest.importorskip("fsspec", reason="object storage beside Arrow's own needs fsspec")
    write_whole("memory://in/texts.txt", "\n".join(TEXTS).encode())
    options = Options(wanted=OPTIONS.wanted, rows_a_part=20, output_format="jsonl")
    job = open_job(["memory://in"], "memory://out/vectors", options)
    split = job.note.splits[0]
    make_part(options, split, job.part(0), lambda texts: Found(np.ones((len(texts), 2), np.float32)))
    again = open_job(["memory://in"], "memory://out/vectors", options)
    assert again.missing() == job.missing() == list(range(1, len(job.note.splits)))
    run_here(again, Place(repository=str(repository)), lambda _: None)
    found, path = filesystem_of("memory://out/vectors/part-000001.jsonl")
    assert b'"text":"w' in found.open_input_file(path).read()


async def test_a_killed_process_loses_nothing(given, tmp_path):
    repository = write_repository(tmp_path / "slow", iterations=300)  # about 0.1 s a batch
    command = ("embed", "--model", TEXT_MODEL, f"--repository={repository}", str(given), "--rows-per-part=10")
    start = asyncio.create_subprocess_exec(sys.executable, "-m", "ingrain", *command, "-o", f"{tmp_path}/out/")
    process = await start
    while len(list(tmp_path.glob("out/part-*"))) < 2:
        assert process.returncode is None
        await asyncio.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    made = len(list(tmp_path.glob("out/part-*")))
    assert 2 <= made < 10
    (tmp_path / "out" / ".part-000009.parquet.1234").write_bytes(b"half a part")
    left = run(given, tmp_path / "out", repository)
    assert not list(tmp_path.glob("out/.*"))
    assert 0 < left < len(TEXTS)
    check_vectors(tmp_path / "out")
