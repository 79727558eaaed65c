"""Custom sources: whole or not there, never over another model."""

import pytest
from entries import stage

from ingrain.errors import DamagedEntryError, ModelConflictError
from ingrain.repository.custom import CustomSource, describe_source
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository

KEY = model_key("mine", "timm")


@pytest.fixture
def repository(tmp_path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    return repository


def add(repository: Repository, content: bytes = b"weights", name: str = "mine") -> CustomSource:
    with repository.staging() as folder:
        staged = folder / "source"
        (staged / "files" / "part").mkdir(parents=True)
        (staged / "files" / "part" / "model.safetensors").write_bytes(content)
        source = describe_source(staged, name=name, library="timm", pretrained=None, created_at="2026-11-22T00:00:00Z")
        repository.publish_custom(staged, model_key(name, "timm"))
    return source


def test_a_published_source_is_found_whole(repository):
    source = add(repository)
    assert repository.custom.find(KEY) == source
    assert [file.path for file in source.files] == ["part/model.safetensors"]
    assert (repository.custom.files_of(KEY) / "part" / "model.safetensors").read_bytes() == b"weights"
    assert list((repository.root / "staging").iterdir()) == []


def test_a_source_is_never_put_over_another(repository):
    add(repository)
    with pytest.raises(ModelConflictError):
        add(repository, b"other")
    assert (repository.custom.files_of(KEY) / "part" / "model.safetensors").read_bytes() == b"weights"
    assert list((repository.root / "staging").iterdir()) == []


def test_a_source_is_never_put_beside_a_published_model_of_its_key(repository):
    (repository.models / KEY).mkdir()
    with pytest.raises(ModelConflictError):
        add(repository)
    assert repository.custom.find(KEY) is None


def test_deleting_a_model_takes_its_source_along_and_no_others(repository):
    add(repository)
    other = add(repository, name="other")
    repository.delete(KEY)
    repository.delete(KEY)
    assert [source for _, source in repository.custom.entries()] == [other]


def test_publishing_a_model_leaves_sources_alone(repository):
    """A model is made again from its source when it is damaged."""
    source = add(repository)
    with repository.staging() as folder:
        stage(folder, "org/model", b"weights")
        repository.publish(folder)
    assert repository.custom.find(KEY) == source


@pytest.mark.parametrize("damage", ["missing", "shorter", "undescribed"])
def test_damage_is_told_and_listed(repository, damage):
    add(repository)
    folder = repository.custom.folder / KEY
    if damage == "missing":
        (folder / "files" / "part" / "model.safetensors").unlink()
    elif damage == "shorter":
        (folder / "files" / "part" / "model.safetensors").write_bytes(b"w")
    else:
        (folder / "source.json").write_bytes(b"{")
    with pytest.raises(DamagedEntryError):
        repository.custom.find(KEY)
    ((key, error),) = repository.custom.entries()
    assert key == KEY
    assert isinstance(error, DamagedEntryError)
    repository.delete(KEY)
    assert list(repository.custom.entries()) == []
