from pathlib import Path

import msgspec
import pytest
from hub_model import MODEL
from hypothesis import given
from hypothesis import strategies as st

from ingrain.errors import IngrainError, InvalidRequestError, SourceNotFoundError, UnsupportedModelError
from ingrain.export.process.job import ExportJob
from ingrain.progress import Progress
from ingrain.sources.local import find_local, is_plain_relative
from ingrain.sources.resolve import resolve


def write_model(folder: Path, *, without: str = "") -> Path:
    for path, content in MODEL.items():
        if path != without:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    return folder


def job(name: str, models_dir: Path, *, revision: str | None = None) -> ExportJob:
    return ExportJob(
        name=name,
        library="sentence_transformers",
        output="-",
        local_models_dir=str(models_dir),
        offline=True,
        revision=revision,
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_model(tmp_path / "secret")
    write_model(tmp_path / "models" / "mine")
    write_model(tmp_path / "models" / "org" / "model")
    return tmp_path / "models"


@pytest.mark.parametrize("name", ["mine", "org/model"])
def test_folder_below_the_directory_is_the_model(models: Path, name: str) -> None:
    events: list[Progress] = []
    source = resolve(job(name, models), events.append)
    assert (source.folder, source.commit, source.origin) == (models / name, None, "local")
    assert [event.phase for event in events] == ["download"]


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "mine/../../secret",
        "mine/..",
        "..",
        ".",
        "",
        "/",
        "./mine",
        "mine/",
        "//mine",
        "mine\0",
        "mine\n",
        "..\\secret",
        "mine\\..\\..\\secret",
        "a" * 5000,
        "/".join(["a"] * 3000),
        "~",
        "%2e%2e/secret",
    ],
)
def test_names_that_are_no_names_are_refused(models: Path, name: str) -> None:
    with pytest.raises((InvalidRequestError, SourceNotFoundError)) as caught:
        resolve(job(name, models), lambda event: None)
    assert str(models.parent) not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_absolute_path_is_refused_even_when_it_is_a_model(models: Path) -> None:
    for path in (models / "mine", models.parent / "secret"):
        assert find_local(str(path), models) is None
        with pytest.raises(InvalidRequestError):
            resolve(job(str(path), models), lambda event: None)


def test_link_out_of_the_directory_is_not_followed(models: Path) -> None:
    (models / "out").symlink_to(models.parent / "secret")
    (models / "up").symlink_to("..")
    (models / "file").symlink_to("/etc/passwd")
    for name in ("out", "up/secret", "up", "file"):
        with pytest.raises(SourceNotFoundError, match="leads out"):
            resolve(job(name, models), lambda event: None)


def test_link_within_the_directory_and_a_linked_directory_work(models: Path, tmp_path: Path) -> None:
    (models / "alias").symlink_to("org/model")
    (tmp_path / "elsewhere").symlink_to(models)
    assert resolve(job("alias", models), lambda event: None).folder == models / "org" / "model"
    assert resolve(job("mine", tmp_path / "elsewhere"), lambda event: None).folder == models / "mine"


def test_loop_of_links_is_no_model(models: Path) -> None:
    (models / "loop").symlink_to("loop")
    with pytest.raises(SourceNotFoundError):
        resolve(job("loop", models), lambda event: None)


@given(st.text(alphabet="./\\ab~%\0\n‥․é", max_size=20))
def test_no_text_leads_out_of_the_directory(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Whatever the name, what is found lies below the directory."""
    base = tmp_path_factory.getbasetemp() / "walk"
    (base / "models" / "a" / "b").mkdir(parents=True, exist_ok=True)
    try:
        found = find_local(name, base / "models")
    except IngrainError:
        return
    assert found is None or found.is_relative_to(base / "models" / "a")


@pytest.mark.parametrize(("path", "plain"), [("a/b.json", True), ("a/../b", False), ("/a", False), ("a//b", False)])
def test_plain_relative_paths(path: str, plain: bool) -> None:
    assert is_plain_relative(path) is plain


def test_revision_of_a_local_folder_is_refused(models: Path) -> None:
    """A folder cannot be another revision of itself; ignoring it would give other vectors than asked for."""
    with pytest.raises(InvalidRequestError, match="no revisions") as caught:
        resolve(job("mine", models, revision="main"), lambda event: None)
    assert caught.value.param == "revision"


def test_local_pickle_is_taken_and_refused_like_the_hubs(models: Path) -> None:
    write_model(models / "old", without="model.safetensors")
    assert resolve(job("old", models), lambda event: None).folder == models / "old"
    with pytest.raises(UnsupportedModelError, match=r"pytorch_model\.bin"):
        resolve(msgspec.structs.replace(job("old", models), pickled_weights=False), lambda event: None)


def test_missing_directory_of_local_models_is_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        resolve(job("mine", tmp_path / "nothing"), lambda event: None)
