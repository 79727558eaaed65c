"""The repository: whole or not at all, and never serving what is damaged."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from entries import stage

from ingrain.errors import DamagedEntryError, ModelConflictError, NewerFormatError, RepositoryError
from ingrain.repository.graph_links import link_graph
from ingrain.repository.models_to_load import ModelRef, read_desired, write_desired
from ingrain.repository.names import key_of_graph, model_key
from ingrain.repository.store import BrokenEntry, Entry, Repository
from ingrain.repository.tuning import Machine, Tuning


@pytest.fixture
def repository(tmp_path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    return repository


def publish(repository: Repository, name: str = "org/model", weights: bytes = b"weights") -> Entry:
    with repository.staging() as folder:
        stage(folder, name, weights)
        return repository.publish(folder)


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "lock")


def test_a_published_model_is_found_whole(repository):
    entry = publish(repository)
    found = repository.find(entry.key)
    assert found == entry
    repository.check(found)
    assert repository.locate_graph(entry.manifest.graphs[0]).read_bytes() == b"weights"
    assert list((repository.root / "staging").iterdir()) == []


def test_publishing_again_replaces_the_whole_entry(repository):
    publish(repository)
    entry = publish(repository, weights=b"other")
    repository.check(entry)
    assert repository.locate_graph(entry.manifest.graphs[0]).read_bytes() == b"other"
    assert len(repository.entries()) == 1


def test_deleting_leaves_nothing(repository):
    before = files_below(repository.root)
    entry = publish(repository)
    repository.delete(entry.key)
    repository.delete(entry.key)
    assert repository.find(entry.key) is None
    assert files_below(repository.root) == before


def test_an_export_that_fails_leaves_nothing(repository):
    before = files_below(repository.root)

    def export_that_fails() -> None:
        with repository.staging() as folder:
            stage(folder)
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        export_that_fails()
    assert files_below(repository.root) == before


def test_a_staged_file_that_differs_from_its_manifest_is_not_published(repository):
    with repository.staging() as folder:
        manifest = stage(folder)
        (folder / manifest.graphs[0].name / "1" / "model.onnx").write_bytes(b"tampered")
        with pytest.raises(DamagedEntryError):
            repository.publish(folder)
    assert repository.entries() == []


@pytest.mark.parametrize("harm", ["missing graph", "short graph", "missing tokenizer", "bad manifest", "no manifest"])
def test_a_damaged_entry_is_reported_and_can_be_deleted(repository, harm):
    """An entry with missing or cut files is never found, is listed as broken, and can be removed."""
    entry = publish(repository)
    graph = repository.locate_graph(entry.manifest.graphs[0])
    {
        "missing graph": lambda: graph.unlink(),
        "short graph": lambda: graph.write_bytes(b"w"),
        "missing tokenizer": lambda: (entry.folder / "tokenizer.json").unlink(),
        "bad manifest": lambda: (entry.folder / "manifest.json").write_text('{"format": 1, "name"'),
        "no manifest": lambda: (entry.folder / "manifest.json").unlink(),
    }[harm]()
    with pytest.raises(DamagedEntryError):
        repository.find(entry.key)
    (broken,) = repository.entries()
    assert isinstance(broken, BrokenEntry)
    repository.delete(entry.key)
    assert repository.entries() == []
    assert list(repository.triton.iterdir()) == []


def test_changed_contents_of_the_right_size_are_found_by_checksum(repository):
    entry = publish(repository)
    repository.locate_graph(entry.manifest.graphs[0]).write_bytes(b"WEIGHTS")
    with pytest.raises(DamagedEntryError, match="checksum"):
        repository.check(entry)


def test_an_entry_of_a_newer_format_is_reported_and_never_served(repository):
    entry = publish(repository)
    (entry.folder / "manifest.json").write_text('{"format": 99, "name": "org/model", "future": true}')
    with pytest.raises(NewerFormatError, match="newer Ingrain"):
        repository.find(entry.key)
    (broken,) = repository.entries()
    assert isinstance(broken, BrokenEntry)
    assert broken.name == "org/model"


def test_starting_removes_graphs_without_a_manifest_but_nothing_that_is_not_ours(repository):
    """A publish or delete cut short leaves graphs without a manifest; a user's own Triton model stays."""
    entry = publish(repository)
    (entry.folder / "manifest.json").unlink()
    entry.folder.rmdir() if not any(entry.folder.iterdir()) else (entry.folder / "tokenizer.json").unlink()
    if entry.folder.exists():
        entry.folder.rmdir()
    own = repository.triton / "resnet" / "1"
    own.mkdir(parents=True)
    (own / "model.onnx").write_bytes(b"theirs")
    repository.prepare()
    assert [folder.name for folder in repository.triton.iterdir()] == ["resnet"]


@pytest.mark.parametrize("content", ['[{"name": "org/model"}]', "[{"])
def test_a_listed_model_whose_folder_is_away_keeps_its_graphs(repository, content):
    """It may come back; a damaged list leaves all graphs alone."""
    entry = publish(repository)
    (repository.root / "desired.json").write_text(content)
    entry.folder.rename(repository.root / "away")
    repository.prepare()
    (repository.root / "away").rename(entry.folder)
    assert repository.find(entry.key) == entry


@pytest.mark.parametrize("name", ["lock", "claims/org-model-0123456789", "staging/odd.lock"])
def test_a_folder_in_the_place_of_a_lock_is_set_aside(repository, name):
    (repository.root / name).unlink(missing_ok=True)
    (repository.root / name).mkdir()
    repository.prepare()
    with repository.try_changing("org-model-0123456789") as is_free:
        assert is_free
    publish(repository)


def test_a_link_in_the_root_goes_with_its_graph(repository):
    """A link to a missing folder would make Triton's index fail, if the repository is Triton's root."""
    deleted, orphaned = publish(repository), publish(repository, "org/orphan")
    links = []
    for entry in (deleted, orphaned):
        (graph,) = entry.manifest.graphs
        link_graph(repository.triton, graph.name)
        link_graph(repository.triton, graph.name)
        links.append(repository.root / graph.name)
    assert all((link / "1" / "model.onnx").is_file() for link in links)
    repository.delete(deleted.key)
    shutil.rmtree(orphaned.folder)
    repository.prepare()
    assert not any(link.is_symlink() for link in links)


def test_a_process_killed_while_exporting_leaves_nothing_after_the_next_start(tmp_path, repository):
    """Staging of a killed process goes at the next start; that of a living one stays."""
    script = (
        "import sys, time, pathlib; from ingrain.repository.store import Repository\n"
        "repository = Repository(pathlib.Path(sys.argv[1]))\n"
        "with repository.staging() as folder:\n"
        "    (folder / 'half').write_text('written'); print('staged', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(repository.root)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    repository.prepare()
    assert "half" in [p.name for p in (repository.root / "staging").rglob("*")]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    repository.prepare()
    assert list((repository.root / "staging").iterdir()) == []


def _publish_often(root: Path, name: str) -> None:
    repository = Repository(root)
    for number in range(20):
        publish(repository, name, weights=str(number).encode() * 100)


def test_processes_that_publish_at_once_never_leave_a_mixture(repository):
    """Three processes publish the same and other models; at every moment what is found is whole."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_publish_often, args=(repository.root, name)) for name in ("a", "a", "b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with repository.locked():
            for entry in repository.entries():
                assert isinstance(entry, Entry)
                repository.check(entry)
        time.sleep(0.005)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(repository.entries()) == 2


def test_the_list_of_models_survives_and_a_broken_one_says_what_to_do(tmp_path):
    assert read_desired(tmp_path) == ()
    models = (ModelRef(name="a"), ModelRef(name="ViT-B-32", library="open_clip", pretrained="openai"))
    write_desired(tmp_path, models)
    assert read_desired(tmp_path) == models
    (tmp_path / "desired.json").write_text("[{")
    with pytest.raises(RepositoryError, match="damaged"):
        read_desired(tmp_path)


def test_names_that_slug_alike_have_different_keys():
    names = ["a/b_c", "a_b/c", "a-b-c", "A/B_C"]
    keys = {model_key(name, "sentence_transformers") for name in names}
    assert len(keys) == 4
    assert model_key("x", "open_clip", "a") != model_key("x", "open_clip", "b")
    assert key_of_graph(f"{model_key('模型', 'timm')}.classifier") == model_key("模型", "timm")
    assert key_of_graph("resnet50") is None


TUNING = Tuning(
    machine=Machine(engine="fake", instance_kind="KIND_CPU", cores=2),
    graphs_sha256="",
    tuned_at="2026-11-25T00:00:00+00:00",
    seconds=1.0,
    graphs=(),
)


def test_a_tuning_changes_nothing_else_of_a_manifest(repository):
    entry = publish(repository)
    changed = repository.change_tunings(entry.key, entry.manifest, lambda tunings: (*tunings, TUNING))
    assert changed.manifest == msgspec.structs.replace(entry.manifest, tunings=(TUNING,))
    assert repository.find(entry.key) == changed
    repository.check(changed)
    assert files_below(entry.folder) == ["manifest.json", "tokenizer.json"]
    assert repository.change_tunings(entry.key, entry.manifest, lambda _: ()) == entry


def test_a_model_that_was_replaced_or_removed_meanwhile_gets_no_tuning(repository):
    old = publish(repository)
    new = publish(repository, weights=b"other")
    for _ in range(2):
        with pytest.raises(ModelConflictError):
            repository.change_tunings(old.key, old.manifest, lambda _: (TUNING,))
        assert repository.find(new.key) in (new, None)
        repository.delete(new.key)


def test_a_manifest_from_before_there_were_tunings_is_read_as_before(repository):
    entry = publish(repository)
    file = entry.folder / "manifest.json"
    plain = msgspec.json.decode(file.read_bytes())
    del plain["tunings"]
    file.write_bytes(msgspec.json.encode(plain))
    assert repository.find(entry.key) == entry
