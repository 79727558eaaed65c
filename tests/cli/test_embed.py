"""`ingrain embed`: every input, every output, and what an interruption leaves."""

import asyncio
import csv
import json
import signal

import numpy as np
import pyarrow.parquet
import pytest

from images import encode, scene
from ingrain.testing.fake_engine import fake_vector
from planes import WIDTH, ids_of

MODEL = ["--model", "org/model"]
TEXTS = ["w1 w2", "", 'w3, "quoted" ', "w4\tw5", "日本語 🙂", "w6"]


def truth(texts) -> np.ndarray:
    rows = np.stack([fake_vector(ids_of(text), WIDTH) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def numbered(count: int) -> list[str]:
    return [f"w{n % 100} w{n // 100 % 100}" for n in range(count)]


def records(printed: str) -> list[dict]:
    return [json.loads(line) for line in printed.splitlines()]


async def test_texts_of_the_command_line_become_json_lines(ingrain):
    status, printed, _ = await ingrain("embed", *MODEL, "--text", "red", "--text", "green")
    assert status == 0
    assert [(record["index"], record["text"]) for record in records(printed)] == [(0, "red"), (1, "green")]
    np.testing.assert_allclose([r["embedding"] for r in records(printed)], truth(["red", "green"]), atol=1e-6)
    status, printed, _ = await ingrain(
        *("embed", *MODEL, "--text", "red", "--no-normalize", "--dims", "3", "--without-input")
    )
    (record,) = records(printed)
    assert set(record) == {"index", "embedding"}
    np.testing.assert_allclose(record["embedding"], fake_vector(ids_of("red"), WIDTH)[:3], atol=1e-6)


async def test_prompts_go_before_texts_and_long_texts_may_be_refused(ingrain):
    for flags, prompt in ((["--prompt", "green "], "green "), (["--input-type", "query"], "")):
        _, printed, complained = await ingrain("embed", *MODEL, "--text", "red", *flags)
        np.testing.assert_allclose([r["embedding"] for r in records(printed)], truth([f"{prompt}red"]), atol=1e-6)
    status, _, complained = await ingrain("embed", *MODEL, "--text", "red", "--prompt-name", "nonsense")
    assert (status, "nonsense" in complained) == (1, True)
    status, _, complained = await ingrain("embed", *MODEL, "--text", "w1 " * 99, "--no-truncate")
    assert (status, "text[0]" in complained) == (1, True)


def write_inputs(folder) -> dict[str, list[str]]:
    """Write one file of each kind; return the texts that each must give."""
    one_line = [text for text in TEXTS if "\n" not in text]
    (folder / "a.txt").write_text("\n".join(one_line) + "\n", "utf-8")
    (folder / "dos.txt").write_bytes("\ufeffw1\r\nw2".encode())
    (folder / "b.jsonl").write_text(
        "\n".join([*(json.dumps({"text": text, "id": 7}) for text in TEXTS[:3]), *map(json.dumps, TEXTS[3:])]), "utf-8"
    )
    for name, delimiter in (("c.csv", ","), ("d.tsv", "\t")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([["id", "text"], *([n, f"{text}\nsecond line"] for n, text in enumerate(TEXTS))])
    table = pyarrow.table({"id": range(len(TEXTS)), "text": TEXTS})
    pyarrow.parquet.write_table(table, folder / "e.parquet")
    return {
        "a.txt": one_line,
        "dos.txt": ["w1", "w2"],
        "b.jsonl": TEXTS,
        "c.csv": [f"{text}\nsecond line" for text in TEXTS],
        "d.tsv": [f"{text}\nsecond line" for text in TEXTS],
        "e.parquet": TEXTS,
    }


async def test_every_kind_of_input_gives_its_texts_in_order(ingrain, tmp_path):
    expected = write_inputs(tmp_path)
    for name, texts in expected.items():
        status, printed, complained = await ingrain("embed", *MODEL, name)
        assert status == 0, complained
        assert [record["text"] for record in records(printed)] == texts, name
    status, printed, _ = await ingrain("embed", *MODEL, *expected)
    found = records(printed)
    assert [record["index"] for record in found] == list(range(len(found)))
    assert [record["text"] for record in found] == [text for texts in expected.values() for text in texts]


async def test_standard_input_is_read(start):
    process = await start("embed", *MODEL, "-")
    printed, complained = await process.communicate("red\ngrün\n".encode())
    assert process.returncode == 0, complained
    assert [record["text"] for record in records(printed.decode())] == ["red", "grün"]
    process = await start("embed", *MODEL, "-", "--input-format", "jsonl", "--field", "t")
    printed, _ = await process.communicate(b'{"t": "red"}\n')
    assert [record["text"] for record in records(printed.decode())] == ["red"]


async def test_a_reader_that_has_seen_enough_ends_the_command_quietly(start, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(numbered(20_000)))
    process = await start("embed", *MODEL, "texts.txt")
    await process.stdout.readline()
    process.stdout._transport.close()
    assert await process.stderr.read() == b""
    assert await process.wait() == 130


async def test_every_kind_of_output_holds_the_same(ingrain, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, TEXTS)), "utf-8")
    for name in ("out.jsonl", "out.csv", "out.npy", "out.parquet"):
        status, printed, complained = await ingrain("embed", *MODEL, "in.jsonl", "-o", name)
        assert (status, printed) == (0, ""), complained
        assert complained == f"{len(TEXTS)} vectors of {WIDTH} dimensions in {name}\n"
    lines = records((tmp_path / "out.jsonl").read_text("utf-8"))
    matrix = np.load(tmp_path / "out.npy")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["index", "text", *(f"d{n}" for n in range(WIDTH))]
    assert [line["text"] for line in lines] == [row[1] for row in rows] == table["text"].to_pylist() == TEXTS
    assert table["index"].to_pylist() == [int(row[0]) for row in rows] == list(range(len(TEXTS)))
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, truth(TEXTS), atol=1e-6)
    for vectors in (
        [line["embedding"] for line in lines],
        [[float(cell) for cell in row[2:]] for row in rows],
        table["embedding"].to_pylist(),
    ):
        np.testing.assert_array_equal(np.array(vectors, np.float32), matrix)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


async def test_the_summary_is_for_programs_too(ingrain, tmp_path):
    status, printed, complained = await ingrain("embed", *MODEL, "--text", "red", "-o", "out.npy", "--json")
    assert (status, complained) == (0, "")
    assert json.loads(printed) == {"output": "out.npy", "rows": 1, "rowsOfEarlierRuns": 0, "width": WIDTH}


async def test_pictures_of_files_and_folders(ingrain, tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for number, name in enumerate(["b.png", "sub/a.png", "a.PNG"]):
        (tmp_path / "photos" / name).write_bytes(encode(scene(30, 40, seed=number), "PNG"))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "without suffix").write_bytes(encode(scene(30, 40, seed=0), "PNG"))
    command = ("embed", "--model", "clip", "--images", "photos", "without suffix")
    status, printed, complained = await ingrain(*command)
    assert status == 0, complained
    names = [record["image"] for record in records(printed)]
    assert names == ["photos/a.PNG", "photos/b.png", "photos/sub/a.png", "without suffix"]
    rows = [record["embedding"] for record in records(printed)]
    assert rows[1] == rows[3] != rows[0]
    shrunk = records((await ingrain(*command, "--shrink"))[1])
    assert [record["embedding"] for record in shrunk] == rows


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.npy", "out.parquet"])
async def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_file(planes, start, ingrain, tmp_path, name):
    """SIGKILL in the middle, then the same command: byte for byte what one run would have written."""
    (tmp_path / "texts.txt").write_text("\n".join(numbered(3000)))
    command = ["embed", *MODEL, "texts.txt", "--batch", "10", "--concurrency", "2", "-o"]
    status, _, complained = await ingrain(*command, f"whole-{name}")
    assert status == 0, complained
    planes.engine.latency_s = 0.03
    process = await start(*command, name)
    note = tmp_path / f"{name}.part.json"
    while not note.exists() or not 100 < json.loads(note.read_bytes())["rows"] < 2900:
        assert process.returncode is None
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    planes.engine.latency_s = 0
    asked = sum(shape[0] for _, shape in planes.engine.batches)
    assert not (tmp_path / name).exists()
    status, printed, complained = await ingrain(*command, name, "--json")
    assert status == 0, complained
    assert json.loads(printed)["rowsOfEarlierRuns"] > 100
    assert sum(shape[0] for _, shape in planes.engine.batches) - asked < 2950
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


async def test_an_interrupted_run_says_how_to_go_on(planes, start, tmp_path):
    planes.engine.latency_s = 0.02
    (tmp_path / "texts.txt").write_text("\n".join(numbered(30_000)))
    process = await start("embed", *MODEL, "texts.txt", "--batch", "10", "-o", "out.npy")
    while not (tmp_path / "out.npy.part.json").exists():
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complained = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert b"rows are kept in out.npy.part; the same command continues there." in complained
    assert b"Traceback" not in complained


async def test_only_the_same_run_goes_on(ingrain, tmp_path):
    """Other input, another model or other vectors do not get mixed into what there is."""
    lines = numbered(200)
    lines[150] = "poison"
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    command = ["embed", *MODEL, "texts.txt", "--batch", "10", "--concurrency", "1", "-o", "out.jsonl"]
    status, _, complained = await ingrain(*command)
    assert (status, "rows are kept in out.jsonl.part" in complained) == (1, True)
    for more in (
        ["--dims", "3"],
        ["--without-input"],
        ["--prompt", "w1"],
        ["--output-format", "csv"],
        ["--no-normalize"],
    ):
        status, _, complained = await ingrain(*command, *more)
        assert (status, "--force" in complained) == (2, True)
    (tmp_path / "texts.txt").write_text("\n".join(["w9", *lines[1:]]))
    status, _, complained = await ingrain(*command)
    assert (status, "other input" in complained) == (2, True)
    (tmp_path / "texts.txt").write_text("\n".join(lines).replace("poison", "w7"))
    status, printed, _ = await ingrain(*command, "--json")
    assert (status, json.loads(printed)["rowsOfEarlierRuns"] >= 100) == (0, True)
    status, _, complained = await ingrain(*command)
    assert (status, "is there already" in complained) == (2, True)
    status, printed, _ = await ingrain(*command, "--force", "--json")
    assert (status, json.loads(printed)["rowsOfEarlierRuns"]) == (0, 0)


async def test_two_runs_do_not_write_one_file(planes, start, ingrain, tmp_path):
    planes.engine.latency_s = 0.05
    (tmp_path / "texts.txt").write_text("\n".join(numbered(30_000)))
    command = ["embed", *MODEL, "texts.txt", "--batch", "10", "-o", "out.npy"]
    process = await start(*command)
    while not (tmp_path / "out.npy.part.json").exists():
        await asyncio.sleep(0.05)
    status, _, complained = await ingrain(*command)
    process.kill()
    await process.communicate()
    assert (status, "Another `ingrain embed` writes out.npy" in complained) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        ([], 2, "Give files"),
        (["a.txt", "--text", "b"], 2, "Give files"),
        (["missing.txt"], 2, "cannot be read"),
        (["empty.txt", "-o", "out.npy"], 2, "nothing to embed"),
        (["latin.txt"], 1, "not UTF-8"),
        (["bad.jsonl"], 1, "line 2 is not JSON"),
        (["no-text.jsonl"], 1, "line 1 has no text in 'text'"),
        (["table.csv"], 2, "no column 'text', but 'a', 'b'"),
        (["bad.parquet"], 2, "Parquet"),
        (["--text", "b", "-o", "out.xyz"], 2, "--output-format"),
        (["--text", "b", "--output-format", "npy"], 2, "needs -o"),
        (["--text", "b", "--json"], 2, "needs -o"),
        (["--text", "b", "--images"], 2, "--images"),
        (["missing.png", "--images"], 2, "no picture"),
        (["--text", "b", "--dims", "0"], 2, "--dims"),
        (["--text", "b", "--dims", "99"], 1, "dimensions"),
        (["--text", "b", "--sparse", "--dims", "3"], 2, "--dims"),
        (["--text", "b", "--sparse", "--multi-vector"], 2, "--multi-vector"),
        (["--text", "b", "--sparse", "--min-weight", "nan"], 1, "minWeight is nan"),
        (["a.txt", "--images", "--prompt", "b"], 2, "--images"),
        (["--text", "b", "--model", ""], 2, "empty"),
        (["--text", "b", "-o", "no/where.jsonl"], 2, "no/where.jsonl cannot be written (No such file"),
    ],
)
async def test_what_cannot_be_done_is_told(ingrain, tmp_path, arguments, status, what):
    (tmp_path / "a.txt").write_text("w1")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    (tmp_path / "bad.jsonl").write_text('"w1"\nnonsense')
    (tmp_path / "no-text.jsonl").write_text('{"title": "w1"}')
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.parquet").write_text("nonsense")
    found, _, complained = await ingrain("embed", *MODEL, *arguments)
    assert (found, what in complained) == (status, True), complained
    assert "Traceback" not in complained
