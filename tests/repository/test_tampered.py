"""A manifest is believed only as far as its own folder: what leads elsewhere is damage, and deletes nothing else."""

import json
import shutil

import msgspec
import pytest
from entries import stage

from ingrain.errors import DamagedEntryError
from ingrain.repository.manifest import Calibration, Code, StoredFile, TextPreprocess
from ingrain.repository.models_to_load import read_desired
from ingrain.repository.store import BrokenEntry, Entry, Repository
from planes import running_planes

OUTSIDE = ("../victim", "/etc", "..", ".", "", "a/../../victim", "a//b", "a\\..\\victim", "nul\0", "line\n", "\u202e")


@pytest.fixture
def repository(tmp_path):
    """A repository with two models, and a folder beside it that nobody may touch."""
    made = Repository(tmp_path / "repository")
    made.prepare()
    for name in ("org/model", "org/other"):
        with made.staging() as folder:
            stage(folder, name)
            made.publish(folder)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "tokenizer.json").write_text("{}")
    return made


def tamper(repository: Repository, change) -> str:
    """Change the manifest of org/model; return its key."""
    (entry,) = (one for one in repository.entries() if isinstance(one, Entry) and one.manifest.name == "org/model")
    (entry.folder / "manifest.json").write_bytes(msgspec.json.encode(change(entry.manifest)))
    return entry.key


def replace_graph(**fields):
    return lambda manifest: msgspec.structs.replace(
        manifest, graphs=(msgspec.structs.replace(manifest.graphs[0], **fields),)
    )


def with_files(path):
    return (StoredFile(path=path, size_bytes=2, sha256="0" * 64),)


TAMPERINGS = {
    "a graph": lambda path: replace_graph(name=path),
    "a graph's file": lambda path: replace_graph(files=with_files(path)),
    "a file": lambda path: lambda manifest: msgspec.structs.replace(manifest, files=with_files(path)),
    "the tokenizer": lambda path: (
        lambda manifest: msgspec.structs.replace(manifest, text=TextPreprocess(max_tokens=16, tokenizer=path))
    ),
    "the calibration": lambda path: (
        lambda manifest: msgspec.structs.replace(manifest, calibration=Calibration(sample="x", texts=1, file=path))
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
@pytest.mark.parametrize("path", OUTSIDE, ids=range(len(OUTSIDE)))
def test_a_name_that_leads_out_is_refused_and_a_delete_removes_the_models_own_folders_alone(
    repository, tampering, path
):
    victim = repository.root.parent / "victim"
    key = tamper(repository, tampering(path))
    with pytest.raises(DamagedEntryError):
        repository.find(key)
    assert {type(entry) for entry in repository.entries()} == {Entry, BrokenEntry}
    repository.delete(key)
    assert [path.name for path in victim.iterdir()] == ["tokenizer.json"]
    (left,) = repository.entries()
    assert isinstance(left, Entry)
    repository.check(left)
    assert not list(repository.triton.glob(f"{key}.*"))


@pytest.mark.parametrize(
    "path",
    ["1/model.py", "1/runs.PY", "1/runs/__init__.py", "1/runs.abi3.so", "1/lone.pyc", "config.pbtxt", "2/model.onnx"],
)
def test_a_graph_brings_neither_code_nor_a_configuration_for_triton(repository, path):
    """Else a bundle, or who may write to the object storage, could run any program in Triton."""
    key = tamper(repository, replace_graph(files=with_files(path)))
    with pytest.raises(DamagedEntryError, match="no data"):
        repository.find(key)


def test_the_weights_of_a_large_graph_may_be_in_files_of_their_own(repository):
    names = ("1/model.onnx", "1/model.onnx.data", "1/encoder.layer.0.weight")
    files = tuple(StoredFile(path=name, size_bytes=2, sha256="") for name in names)
    key = tamper(repository, replace_graph(files=files))
    manifest = repository.read_manifest(key)
    assert manifest is not None
    assert manifest.graphs[0].files == files


def test_the_graphs_and_the_name_of_another_model_are_not_its_own(repository):
    """Else a delete would remove that model, or its name would be ambiguous."""
    (other,) = (one for one in repository.entries() if isinstance(one, Entry) and one.manifest.name == "org/other")
    for change in (lambda _: other.manifest, replace_graph(name=other.manifest.graphs[0].name)):
        original = tamper(repository, lambda manifest: manifest)
        kept = (repository.models / original / "manifest.json").read_bytes()
        key = tamper(repository, change)
        with pytest.raises(DamagedEntryError):
            repository.find(key)
        assert repository.read_manifest(key) is None
        assert sorted(entry.name for entry in repository.entries() if isinstance(entry, BrokenEntry)) in (
            ["org/model"],
            [key],
        )
        (repository.models / key / "manifest.json").write_bytes(kept)
    tamper(repository, lambda _: other.manifest)
    repository.delete(key)
    repository.check(other)


@pytest.mark.parametrize("what", ["tokenizer", "graph file", "graph folder", "model folder"])
def test_a_link_out_of_the_folder_is_refused_and_only_the_link_is_deleted(repository, what):
    victim = repository.root.parent / "victim"
    (entry,) = (one for one in repository.entries() if isinstance(one, Entry) and one.manifest.name == "org/model")
    (graph,) = entry.manifest.graphs
    path = {
        "tokenizer": entry.folder / "tokenizer.json",
        "graph file": repository.locate_graph(graph),
        "graph folder": repository.graph_folder(graph.name),
        "model folder": entry.folder,
    }[what]
    # The content is the right one: only the place is not.
    target = victim / path.name
    target.unlink(missing_ok=True)
    shutil.move(path, target)
    path.symlink_to(target)
    with pytest.raises(DamagedEntryError):
        repository.find(entry.key)
    repository.delete(entry.key)
    assert target.exists()
    assert not path.is_symlink()


def test_tunings_that_cannot_be_used_are_dropped_and_the_model_stays(repository):
    """Numbers out of all bounds, such as a thousand million copies, among them."""
    key = tamper(repository, lambda manifest: manifest)
    file = repository.models / key / "manifest.json"
    fields = json.loads(file.read_bytes())
    layout = {"copies": 10**9, "threads": 1}
    execution = {"layout": layout, "max_items": 32}
    graph = {"role": "text_encoder", "default": execution, "chosen": execution, "ratio": 1.0}
    machine = {"engine": "fake", "instance_kind": "KIND_CPU", "cores": 2}
    tuning = {"machine": machine, "graphs_sha256": "", "tuned_at": "", "seconds": 1.0, "graphs": [graph]}
    for tunings in ([tuning], "?", {"a": 1}):
        file.write_text(json.dumps(fields | {"tunings": tunings}))
        entry = repository.find(key)
        assert entry is not None
        assert entry.manifest.tunings == ()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"", b"null", b'{"format": "one"}'])
def test_any_content_is_a_damaged_entry_at_most(repository, content):
    key = tamper(repository, lambda manifest: manifest)
    for file in (repository.models / key / "manifest.json", repository.root / "desired.json"):
        file.write_bytes(content)
    with pytest.raises(DamagedEntryError):
        repository.find(key)
    with pytest.raises(DamagedEntryError):
        read_desired(repository.root)
    assert len(repository.entries()) == 2


async def test_a_tampered_model_is_deleted_over_http_and_nothing_else(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    async with running_planes(tmp_path / "repository") as planes:
        await planes.load()
        await planes.load("org/other")
        await planes.model.post("/unload_model", json={"name": "org/model"})
        repository = planes.services.registry.repository
        tamper(repository, replace_graph(name="../../victim"))
        assert (await planes.model.get("/repository_models")).json()["models"][0]["state"] == "UNAVAILABLE"
        answer = await planes.model.request("DELETE", "/delete_model", json={"name": "org/model"})
        assert answer.status_code == 200
        assert victim.is_dir()
        assert (await planes.embed("red", name="org/other")).status_code == 200


def test_the_code_of_a_manifest_is_only_told(repository):
    """Its paths are those of the source, and nothing opens them."""
    code = (Code(repository="org/x", commit=None, files=with_files("../outside.py")),)
    key = tamper(repository, lambda manifest: msgspec.structs.replace(manifest, code=code))
    assert repository.find(key) is not None
