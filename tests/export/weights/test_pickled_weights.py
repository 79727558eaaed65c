"""Weights that are there as pickle alone are read as data; a pickle that is more is refused, and never runs."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process
import numpy as np
import pickles_in_process as in_process
import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.vocabulary import Library

Export = Callable[[str], export_in_process.Exported]
PLACES: list[tuple[Library, str]] = [
    ("sentence_transformers", "pytorch_model.bin"),
    ("sentence_transformers", "2_Dense/pytorch_model.bin"),
    ("sentence_transformers", "pytorch_model-00002-of-00002.bin"),
    ("open_clip", "open_clip_pytorch_model.bin"),
    ("open_clip", "open_clip_pytorch_model.pth"),
    ("timm", "pytorch_model.bin"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold a model's folder without weights."""
    model = tmp_path / "model"
    (model / "2_Dense").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "2_Dense" / "config.json").write_text("{}")
    return model


@pytest.mark.parametrize("form", ["plain", "legacy", "archive"])
@pytest.mark.parametrize(("library", "place"), PLACES)
def test_a_pickle_that_runs_code_is_refused_in_every_place_and_does_not_run(
    exporting: ProcessPoolExecutor, folder: Path, library: Library, place: str, form: str
) -> None:
    ran = folder.parent / "it ran"
    if "-of-" in place:
        exporting.submit(in_process.shard, folder).result()
    exporting.submit(in_process.save_hostile, folder / place, ran, form).result()
    message = exporting.submit(in_process.refusal, folder, library).result()
    assert f"{place!r} is damaged, or a pickle that holds more than tensors" in message
    assert ("'posix.mkdir'" in message) == (form == "archive")
    assert str(folder) not in message
    assert not ran.exists()
    assert exporting.submit(in_process.runs_when_trusted, folder / place, ran).result(), "the test's own pickle is dud"


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        ("compressed", "is compressed"),
        ("TorchScript", "which is a program"),
        ("cut short", "is damaged"),
        ("empty", "is damaged"),
        ("a list", "but a 'list'"),
        ("a number", "'epoch' is none"),
        ("sparse", "'a' is none"),
        ("without memory", "'a' is none"),
        ("one number, a million times", "'a' is none"),
        ("one tensor, a hundred names", "far smaller"),
    ],
)
def test_what_is_no_list_of_plain_tensors_is_refused(
    exporting: ProcessPoolExecutor, folder: Path, trick: str, reason: str
) -> None:
    exporting.submit(in_process.save_trick, trick, folder / "pytorch_model.bin").result()
    assert reason in exporting.submit(in_process.refusal, folder, "sentence_transformers").result()


def test_whole_weights_shards_and_those_of_modules_become_safetensors(
    exporting: ProcessPoolExecutor, folder: Path
) -> None:
    exporting.submit(in_process.shard, folder).result()
    exporting.submit(in_process.save, None, folder / "2_Dense" / "pytorch_model.bin", legacy=True).result()
    written = exporting.submit(in_process.converted, folder, "sentence_transformers").result()
    assert written == {
        "2_Dense/model.safetensors": ["a", "b"],
        "pytorch_model-00001-of-00002.safetensors": ["a"],
        "pytorch_model-00002-of-00002.safetensors": ["b"],
    }
    copy = folder.parent / "output" / "unpickled" / "model"
    index = json.loads((copy / "model.safetensors.index.json").read_bytes())["weight_map"]
    assert index == {"a": "pytorch_model-00001-of-00002.safetensors", "b": "pytorch_model-00002-of-00002.safetensors"}
    assert not list(copy.rglob("*.bin*")), "no library can read a pickle, for there is none"


@pytest.mark.parametrize("name", ["../../elsewhere.bin", "missing.bin"])
def test_an_index_that_names_no_file_beside_it_is_refused(
    exporting: ProcessPoolExecutor, folder: Path, name: str
) -> None:
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert (
        f"{name!r}, which does not exist"
        in exporting.submit(in_process.refusal, folder, "sentence_transformers").result()
    )


@pytest.mark.parametrize(
    ("library", "safetensors", "pickle"),
    [
        ("sentence_transformers", "model.safetensors", "pytorch_model.bin"),
        ("open_clip", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        ("timm", "model.safetensors", "pytorch_model.bin"),
    ],
)
def test_where_both_forms_lie_in_a_folder_the_pickle_is_not_opened(
    exporting: ProcessPoolExecutor, folder: Path, library: Library, safetensors: str, pickle: str
) -> None:
    (folder / safetensors).write_bytes(b"never looked at here")
    (folder / pickle).write_bytes(b"no pickle at all")
    assert exporting.submit(in_process.refusal, folder, library).result() == "converted"
    assert not (folder.parent / "output" / "unpickled" / "model").exists()


def test_the_weights_of_one_folder_do_not_hide_the_pickle_of_another(
    exporting: ProcessPoolExecutor, folder: Path
) -> None:
    (folder / "model.safetensors").write_bytes(b"never looked at here")
    exporting.submit(in_process.save, None, folder / "2_Dense" / "pytorch_model.bin").result()
    written = exporting.submit(in_process.converted, folder, "sentence_transformers").result()
    assert list(written) == ["2_Dense/model.safetensors"]
    linked = folder.parent / "output" / "unpickled" / "model" / "model.safetensors"
    assert linked.readlink() == folder / "model.safetensors"


def test_the_model_of_transformers_beside_open_clips_pickle_is_not_taken_for_it(
    exporting: ProcessPoolExecutor, folder: Path
) -> None:
    """OpenCLIP itself prefers its own name in any form."""
    (folder / "model.safetensors").write_bytes(b"another library's")
    exporting.submit(in_process.save, None, folder / "open_clip_pytorch_model.bin").result()
    written = exporting.submit(in_process.converted, folder, "open_clip").result()
    assert written == {"open_clip_model.safetensors": ["a", "b"]}


def test_tied_weights_are_read_as_often_as_they_are_named(exporting: ProcessPoolExecutor, folder: Path) -> None:
    assert exporting.submit(in_process.tied_weights_come_apart, folder).result()


def test_a_model_in_pickled_shards_with_a_pickled_module_gives_the_vectors_of_the_source(
    exporting: ProcessPoolExecutor, exported: Export
) -> None:
    """The source library reads the very pickles."""
    done = exported("Weights as pickle, in shards")
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert sorted(path.name for path in done.output.iterdir()) == sorted(["model", done.manifest.graphs[0].name])


def test_a_hostile_module_is_refused_by_the_whole_export_and_does_not_run(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'2_Dense/pytorch_model\.bin' is damaged, or a pickle that"):
        exporting.submit(export_in_process.export, "Pickle that runs code", tmp_path).result()
    assert not (tmp_path / "models" / "model" / "it ran").exists()


def test_the_operator_can_have_every_pickle_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="INGRAIN_PICKLED_WEIGHTS is 'refuse'"):
        exporting.submit(
            export_in_process.export, "Weights as pickle, in shards", tmp_path, pickled_weights=False
        ).result()
