"""`ingrain embed` into a folder of parts, through a server, and what it refuses."""

import json

import pyarrow.parquet
import pytest

from ingrain.bulk.job import NOTE

MODEL = ["--model", "org/model"]


async def test_a_folder_gets_parts_with_all_columns(ingrain, tmp_path):
    table = pyarrow.table({"id": range(25), "text": [f"w{number}" for number in range(24)] + [None]})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    flags = ("in.parquet", "-o", "out/", "--rows-per-part", "10", "--json")
    status, printed, complained = await ingrain("embed", *MODEL, *flags)
    assert status == 0, complained
    summary = json.loads(printed)
    assert (summary["rows"], summary["parts"], summary["partsOfEarlierRuns"]) == (25, 3, 0)
    names = [f"part-00000{number}.parquet" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NOTE, *names]
    found = pyarrow.concat_tables(pyarrow.parquet.read_table(tmp_path / "out" / name) for name in names)
    assert found.column_names == ["id", "text", "embedding"]
    assert found.drop_columns(["embedding"]).equals(table)
    assert found["embedding"].null_count == 1
    (tmp_path / "out" / names[1]).unlink()
    _, printed, _ = await ingrain("embed", *MODEL, *flags)
    assert (json.loads(printed)["rows"], json.loads(printed)["partsOfEarlierRuns"]) == (10, 2)


async def test_a_column_that_is_not_there_is_told(ingrain, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,w1\n")
    status, _, complained = await ingrain("embed", *MODEL, "in.csv", "-o", "out/", "--field", "body")
    assert (status, "no column 'body', but 'id', 'text'" in complained) == (2, True)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("in.txt", "-o", "out/", "--text", "w1"), "--text cannot be used"),
        (("in.txt", "-o", "out/", "--actors", "2"), "--actors goes with --ray"),
        (("in.txt", "-o", "out.jsonl", "--repository", "x"), "--repository goes with a folder"),
        (("-", "-o", "out/"), "Standard input cannot be split"),
        (("in.txt", "-o", "out/", "--output-format", "npy"), "Parts are parquet, jsonl, csv"),
        (("in.txt", "-o", "nonsense://x/"), "no filesystem for nonsense://"),
        (("missing.txt", "-o", "out/"), "no file missing.txt"),
        (("in.txt", "-o", "out/", "--images", "--prompt", "a"), "for texts, not for images"),
    ],
)
async def test_what_does_not_go_together_is_told(ingrain, tmp_path, flags, told):
    (tmp_path / "in.txt").write_text("w1\n")
    status, _, complained = await ingrain("embed", *MODEL, *flags)
    assert (status, told in complained) == (2, True), complained
    assert not (tmp_path / "out").exists()
