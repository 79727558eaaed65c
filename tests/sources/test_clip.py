"""Where OpenCLIP models come from, against a hub that speaks the real protocol."""

import json
from pathlib import Path

import pytest

from hub_server import HubServer
from ingrain.errors import InvalidRequestError, SourceNotFoundError, UnsupportedModelError
from ingrain.export.process.job import ExportJob
from ingrain.progress import Progress
from ingrain.sources.model_source import ResolvedSource
from ingrain.sources.resolve import resolve

WEIGHTS = b"weights of a model" * 1000


def config(**text: str) -> bytes:
    return json.dumps(
        {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}, "preprocess_cfg": {}}
    ).encode()


MODEL = {
    "open_clip_config.json": config(),
    "open_clip_model.safetensors": WEIGHTS,
    "open_clip_pytorch_model.bin": b"pickle" * 1000,
    "model.safetensors": b"the same for transformers" * 1000,
    "config.json": b"{}",
}


@pytest.fixture
def find(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "models").mkdir()
    (tmp_path / "output").mkdir()
    seen: list[Progress] = []

    def run(name: str, **options: object) -> ResolvedSource:
        job = ExportJob(
            name=name,
            library="open_clip",
            output=str(tmp_path / "output"),
            local_models_dir=str(tmp_path / "models"),
            **options,  # type: ignore[arg-type]
        )
        return resolve(job, seen.append)

    return run


def test_a_model_on_the_hub_is_one_folder_of_configuration_and_safetensors(hub: HubServer, find) -> None:  # type: ignore[no-untyped-def]
    commit = hub.add("org/clip", MODEL)
    found = find("hf-hub:org/clip")
    assert (found.commit, found.origin) == (commit, "hub")
    assert (found.folder / "open_clip_model.safetensors").read_bytes() == WEIGHTS
    assert json.loads((found.folder / "open_clip_config.json").read_bytes()) == json.loads(
        MODEL["open_clip_config.json"]
    )
    asked = {request.path.rpartition("/")[2] for request in hub.gets("/resolve/")}
    assert asked == {"open_clip_config.json", "open_clip_model.safetensors", "config.json"}, "no pickle, nothing twice"


OLD = {path: content for path, content in MODEL.items() if not path.endswith("safetensors")}


def test_weights_that_are_pickle_alone_keep_their_name(hub: HubServer, find) -> None:  # type: ignore[no-untyped-def]
    """The name says how they are to be read; the tokenizer's files lie beside them."""
    own = config(hf_tokenizer_name="org/clip")
    hub.add("org/clip", OLD | {"open_clip_config.json": own, "tokenizer.json": b"{}"})
    folder = find("hf-hub:org/clip").folder
    assert {file.name for file in folder.iterdir()} - {"config.json"} == {
        "open_clip_config.json",
        "open_clip_pytorch_model.bin",
        "tokenizer.json",
    }


def test_weights_that_are_pickle_alone_are_refused_before_anything_is_fetched_where_it_is_forbidden(
    hub: HubServer,
    find,  # type: ignore[no-untyped-def]
) -> None:
    hub.add("org/clip", OLD)
    with pytest.raises(UnsupportedModelError, match="pickle"):
        find("hf-hub:org/clip", pickled_weights=False)
    assert not hub.gets("/resolve/")


def test_tokenizer_and_text_tower_of_other_names_are_fetched_without_their_weights(hub: HubServer, find) -> None:  # type: ignore[no-untyped-def]
    named = config(hf_tokenizer_name="org/words", hf_model_name="org/tower")
    hub.add("org/clip", MODEL | {"open_clip_config.json": named})
    hub.add("org/words", {"tokenizer.json": b'{"a": 1}', "config.json": b"{}", "model.safetensors": b"large"})
    hub.add("org/tower", {"config.json": b'{"model_type": "roberta"}', "pytorch_model.bin": b"pickle"})
    folder = find("hf-hub:org/clip").folder
    assert (folder / "tokenizer.json").read_bytes() == b'{"a": 1}'
    assert json.loads((folder / "text_config" / "config.json").read_bytes())["model_type"] == "roberta"
    assert not hub.gets("org/words/resolve/main/model.safetensors")
    assert not [request for request in hub.gets("/resolve/") if request.path.endswith("pytorch_model.bin")]


def test_a_tokenizer_beside_the_weights_is_not_looked_for_elsewhere(hub: HubServer, find) -> None:  # type: ignore[no-untyped-def]
    named = config(hf_tokenizer_name="org/clip")
    hub.add("org/clip", MODEL | {"open_clip_config.json": named, "tokenizer.json": b'{"own": 1}'})
    assert (find("hf-hub:org/clip").folder / "tokenizer.json").read_bytes() == b'{"own": 1}'


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, find) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "models" / "mine"
    folder.mkdir()
    (folder / "open_clip_config.json").write_bytes(config())
    for name in ("mine", "local-dir:mine"):
        found = find(name)
        assert (found.folder, found.commit, found.origin) == (folder, None, "local")


def test_a_local_folder_gets_its_text_tower_from_the_hub_and_stays_as_it_was(  # type: ignore[no-untyped-def]
    hub: HubServer, tmp_path: Path, find
) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir()
    (folder / "open_clip_config.json").write_bytes(config(hf_model_name="org/tower"))
    (folder / "open_clip_model.safetensors").write_bytes(WEIGHTS)
    hub.add("org/tower", {"config.json": b'{"model_type": "roberta"}'})
    found = find("mine").folder
    assert (found / "text_config" / "config.json").is_file()
    assert (found / "open_clip_model.safetensors").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]


@pytest.mark.parametrize("name", ["local-dir:absent", "local-dir:../models/mine", "local-dir:/etc", "local-dir:"])
def test_a_local_folder_that_is_none_is_not_looked_for_on_the_hub(hub: HubServer, find, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SourceNotFoundError):
        find(name)
    assert not hub.requests


def test_a_tag_does_not_go_with_a_model_of_the_hub_or_a_folder(tmp_path: Path, find) -> None:  # type: ignore[no-untyped-def]
    """OpenCLIP ignores it, and then nobody knows which weights answer."""
    (tmp_path / "models" / "mine").mkdir()
    (tmp_path / "models" / "mine" / "open_clip_config.json").write_bytes(config())
    for name in ("hf-hub:org/clip", "mine"):
        with pytest.raises(InvalidRequestError) as caught:
            find(name, pretrained="openai")
        assert caught.value.param == "pretrained"
    with pytest.raises(InvalidRequestError) as caught:
        find("mine", revision="main")
    assert caught.value.param == "revision"


@pytest.mark.parametrize("reference", ["../../etc", "a/b/c", "https://example.org/x"])
def test_a_configuration_cannot_name_a_tokenizer_that_is_no_id(hub: HubServer, find, reference: str) -> None:  # type: ignore[no-untyped-def]
    hub.add("org/clip", MODEL | {"open_clip_config.json": config(hf_tokenizer_name=reference)})
    with pytest.raises(InvalidRequestError):
        find("hf-hub:org/clip")


def test_a_folder_without_a_configuration_of_openclip_is_refused(hub: HubServer, find) -> None:  # type: ignore[no-untyped-def]
    hub.add("org/clip", {path: content for path, content in MODEL.items() if path != "open_clip_config.json"})
    with pytest.raises(UnsupportedModelError, match="open_clip_config"):
        find("hf-hub:org/clip")
