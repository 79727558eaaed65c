"""Names that OpenCLIP and timm have published are looked up in an index, without importing the libraries."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingrain.errors import InvalidRequestError, SourceNotFoundError
from ingrain.sources.model_source import SourceSpec
from ingrain.sources.names import needs_registry
from ingrain.sources.pretrained_weights import clip_weights, timm_repo
from ingrain.sources.published_names import DISTRIBUTIONS, INDEX_FOLDER, is_indexed
from ingrain.vocabulary import Library

LOADS = """
import sys

from ingrain.errors import IngrainError
from ingrain.export.process.job import ExportJob
from ingrain.export.process.worker import run_job

for library, name, pretrained in (
    ("timm", "resnet50", None),
    ("timm", "resnet51", None),
    ("open_clip", "ViT-B/32", "openai"),
    ("open_clip", "ViT-B-32", "nonsense"),
    ("open_clip", "ViT-Z-99", "openai"),
):
    try:
        run_job(ExportJob(name=name, library=library, pretrained=pretrained, output=sys.argv[1]), lambda event: None)
    except IngrainError as error:
        print(type(error).__name__)
print(*sorted({"torch", "timm", "open_clip"} & set(sys.modules)))
"""


def test_a_load_that_fails_at_its_name_or_at_the_hub_never_imports_the_library(tmp_path: Path) -> None:
    """Importing it takes seconds, in which nobody is told what is wrong."""
    # Nothing listens on that port.
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    found = subprocess.run(
        [sys.executable, "-c", LOADS, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [
        "SourceUnavailableError",
        "SourceNotFoundError",
        "SourceUnavailableError",
        "InvalidRequestError",
        "SourceNotFoundError",
        "",
    ]


@pytest.mark.parametrize("library", ["open_clip", "timm"])
def test_another_version_of_the_library_is_asked_itself(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1")
    assert not is_indexed(library)
    assert needs_registry(SourceSpec(name="a_name", library=library, output="-"))


@pytest.mark.parametrize("library", ["open_clip", "timm"])
def test_a_library_that_is_not_installed_is_imported_and_so_told_before_the_download(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DISTRIBUTIONS, library, "no-such-distribution")
    assert needs_registry(SourceSpec(name="a_name", library=library, output="-"))


@pytest.mark.parametrize(("name", "repo_id"), [
    ("resnet50", "timm/resnet50.a1_in1k"),
    ("tf_efficientnet_lite0.in1k", "timm/tf_efficientnet_lite0.in1k"),
])  # fmt: skip
def test_names_of_timm_lead_to_its_repositories(name: str, repo_id: str) -> None:
    assert timm_repo(name) == repo_id


@pytest.mark.parametrize("name", ["resnet51", "resnet50.nonsense", "resnet50.", "", "a:b"])
def test_other_names_are_not_found_in_timm_s_list(name: str) -> None:
    with pytest.raises(SourceNotFoundError, match="neither a folder"):
        timm_repo(name)


def test_an_architecture_and_a_tag_lead_to_safetensors_on_the_hub() -> None:
    """A slash is a dash, and so is an underscore of the tag, in capitals too."""
    found = clip_weights("ViT-B/32", "LAION2B-s34b-b79k")
    assert (found.repo_id, found.file) == ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors")
    assert found.config["model_cfg"]["vision_cfg"]["patch_size"] == 32
    assert found.config["preprocess_cfg"]["interpolation"] == "bicubic"


def test_an_architecture_without_its_tag_is_refused_with_the_tags() -> None:
    """Never random weights."""
    with pytest.raises(InvalidRequestError, match=r"'openai', 'laion400m_e31'") as caught:
        clip_weights("ViT-B-32", None)
    assert caught.value.param == "pretrained"
    with pytest.raises(InvalidRequestError, match="no weights 'nonsense'"):
        clip_weights("ViT-B-32", "nonsense")
    with pytest.raises(InvalidRequestError, match="published no weights"):
        clip_weights("ViT-M-32", None)


@pytest.mark.parametrize("name", ["ViT-Z-99", "../ViT-B-32", "hf-hub:x", "local-dir:/etc", "", "a\0b", "x" * 5000])
def test_other_names_are_not_found_among_openclip_s_architectures(name: str) -> None:
    with pytest.raises(SourceNotFoundError, match="neither a folder"):
        clip_weights(name, "openai")


def test_each_library_with_a_list_has_an_index() -> None:
    assert {path.stem for path in INDEX_FOLDER.glob("*.json")} == set(DISTRIBUTIONS)
