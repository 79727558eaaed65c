"""Where the weights lie of models that OpenCLIP and timm know by a name of their own, by the libraries themselves."""

from concurrent.futures import ProcessPoolExecutor

import clip_in_process as in_process
import pytest

from ingrain.errors import InvalidRequestError, SourceNotFoundError
from ingrain.sources.published_names import INDEX_FOLDER, clip_architecture, is_indexed

pytestmark = pytest.mark.slow


def test_the_indexes_of_published_names_say_what_the_libraries_say(exporting: ProcessPoolExecutor) -> None:
    found = exporting.submit(in_process.indexes_of_published_names).result()
    for library, text in found.items():
        assert (INDEX_FOLDER / f"{library}.json").read_text("utf-8") == text, "run `make docs`"


def test_architectures_are_read_as_openclip_reads_them(exporting: ProcessPoolExecutor) -> None:
    assert is_indexed("open_clip")
    found = exporting.submit(in_process.clip_architectures).result()
    assert len(found) > 100
    assert {name: clip_architecture(name) for name in found} == found


def test_an_architecture_and_a_tag_lead_to_safetensors_on_the_hub(exporting: ProcessPoolExecutor) -> None:
    repo_id, file, config = exporting.submit(in_process.resolve_published, "ViT-B/32", "laion2b_s34b_b79k").result()
    assert (repo_id, file) == ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors")
    assert config["model_cfg"]["vision_cfg"]["patch_size"] == 32
    assert config["preprocess_cfg"]["interpolation"] == "bicubic"


def test_every_published_tag_has_a_repository_and_a_safetensors_file(exporting: ProcessPoolExecutor) -> None:
    tags = exporting.submit(in_process.every_published_tag).result()
    assert len(tags) > 150
    assert all(repo_id.count("/") == 1 and file.endswith(".safetensors") for _, _, repo_id, file in tags)


def test_an_architecture_without_a_tag_is_refused_with_the_tags(exporting: ProcessPoolExecutor) -> None:
    """Never random weights."""
    with pytest.raises(InvalidRequestError, match=r"'openai', 'laion400m_e31'") as caught:
        exporting.submit(in_process.resolve_published, "ViT-B-32", None).result()
    assert caught.value.param == "pretrained"
    with pytest.raises(InvalidRequestError, match="no weights 'nonsense'"):
        exporting.submit(in_process.resolve_published, "ViT-B-32", "nonsense").result()


def test_an_architecture_that_nobody_published_weights_of_is_refused(exporting: ProcessPoolExecutor) -> None:
    with pytest.raises(InvalidRequestError, match="published no weights"):
        exporting.submit(in_process.resolve_published, "ViT-M-32", None).result()


@pytest.mark.parametrize("name", ["ViT-Z-99", "../ViT-B-32", "hf-hub:x", "local-dir:/etc"])
def test_unknown_architectures_are_not_found(exporting: ProcessPoolExecutor, name: str) -> None:
    with pytest.raises(SourceNotFoundError, match="neither a folder"):
        exporting.submit(in_process.resolve_published, name, "openai").result()


@pytest.mark.parametrize(
    ("name", "repo_id"),
    [("resnet50", "timm/resnet50.a1_in1k"), ("tf_efficientnet_lite0.in1k", "timm/tf_efficientnet_lite0.in1k")],
)
def test_timm_s_names_lead_to_its_repositories(exporting: ProcessPoolExecutor, name: str, repo_id: str) -> None:
    assert exporting.submit(in_process.resolve_timm, name).result() == repo_id


@pytest.mark.parametrize("name", ["resnet51", "resnet50.nonsense", "", "a:b"])
def test_unknown_names_of_timm_are_not_found(exporting: ProcessPoolExecutor, name: str) -> None:
    with pytest.raises(SourceNotFoundError, match="neither a folder"):
        exporting.submit(in_process.resolve_timm, name).result()
