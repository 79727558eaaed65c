"""Splits: together they are the file, whatever its format and the size of a part."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from ingrain.bulk.rows import read_rows
from ingrain.bulk.splits import format_of, split_file
from ingrain.bulk.storage import list_files

TEXTS = ["w1", "", 'two, "quoted"', "日本語 🙂", "x" * 400, 'a "', "last"] * 5
CELLS = [*TEXTS, "with\nbreaks\r\nof both kinds"]


def write_lines(path) -> list:
    path.write_text("\n".join(TEXTS), "utf-8")  # no line break at the end
    return [{"text": text} for text in TEXTS]


def write_jsonl(path) -> list:
    records = [{"id": number, "text": text} for number, text in enumerate(CELLS)]
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(record) + "\r\n" for record in records).encode())
    return records


def write_table(path) -> list:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        rows.writerows([["né", "text"], *([f"{number:03}", text] for number, text in enumerate(CELLS))])
    return [{"né": f"{number:03}", "text": text} for number, text in enumerate(CELLS)]


def write_parquet(path) -> list:
    table = pyarrow.table({"id": range(len(CELLS)), "text": CELLS})
    pyarrow.parquet.write_table(table, path, row_group_size=10)
    return table.to_pylist()


WRITERS = {
    "a.txt": write_lines,
    "a.jsonl": write_jsonl,
    "a.csv": write_table,
    "a.tsv": write_table,
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("rows", [1, 2, 7, 13, 1000])
@pytest.mark.parametrize("name", WRITERS)
def test_splits_are_the_file_in_order_and_always_the_same(tmp_path, name, rows):
    expected = WRITERS[name](tmp_path / name)
    (file,) = list_files(str(tmp_path / name))
    splits = list(split_file(file, format_of(file.path, None), rows_a_part=rows))
    read = [read_rows(split, "text") for split in splits]
    parts = [part if isinstance(part, list) else part.to_pylist() for part in read]
    assert [record for part in parts for record in part] == expected
    assert splits == list(split_file(file, format_of(file.path, None), rows_a_part=rows))
    assert all(split.rows in (None, len(part)) for split, part in zip(splits, parts, strict=True))
    if rows == 7:
        assert 3 <= len(splits) <= 12


def test_a_folder_is_its_files_by_name_without_hidden_ones(tmp_path):
    for name in ("b/2.txt", "b/1.txt", "a.txt", "_note.json", ".hidden/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = [file.path.removeprefix(f"{tmp_path}/") for file in list_files(str(tmp_path))]
    assert found == ["a.txt", "b/1.txt", "b/2.txt"]
