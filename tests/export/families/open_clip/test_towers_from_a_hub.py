"""OpenCLIP and timm models from a hub: through the real export process, and what is refused before it exports."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import msgspec
import pytest

from hub_server import HubServer
from ingrain.errors import InvalidRequestError, SourceNotFoundError, UnsupportedModelError
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
from ingrain.repository.checksums import check_files
from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Library

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("INGRAIN_EXPORT_THREADS", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def job_of(folder: Path, name: str, library: Library, pretrained: str | None = None) -> ExportJob:
    (folder / "output").mkdir()
    return ExportJob(
        name=name,
        library=library,
        pretrained=pretrained,
        output=str(folder / "output"),
        local_models_dir=str(folder / "local"),
    )


async def export(job: ExportJob) -> Manifest:
    return await run_export(job, timeout_s=280, on_progress=lambda _: None)


@pytest.fixture
def export_in_vain(exporting: ProcessPoolExecutor, hub: HubServer, tmp_path: Path) -> Callable[[ExportJob], Manifest]:
    """Do what the export process does, in the one that has torch already, and with the hub within its reach."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}
    return lambda job: exporting.submit(in_process.run_job_in, job, environment).result()


def check_published(output: Path, manifest: Manifest) -> None:
    """Everything is there and sound, and nothing else."""
    check_files(output / "model", manifest.files, contents=True)
    for graph in manifest.graphs:
        check_files(output / graph.name, graph.files, contents=True)
    assert {path.name for path in output.iterdir()} == {"model", *(graph.name for graph in manifest.graphs)}


async def test_a_clip_whose_text_tower_and_tokenizer_lie_elsewhere(
    exporting: ProcessPoolExecutor, hub: HubServer, tmp_path: Path
) -> None:
    """OpenCLIP names both in its configuration; all three are fetched, and none remains beside the graphs."""
    source = tmp_path / "models" / "model"
    exporting.submit(in_process.build_tiny, "RoBERTa", source).result()
    hub.add(
        "example/text-tower",
        {
            "config.json": (source / "text_config" / "config.json").read_bytes(),
            **{path.name: path.read_bytes() for path in source.glob("*token*")},
        },
    )
    files = ("open_clip_config.json", "open_clip_model.safetensors")
    commit = hub.add("org/clip", {name: (source / name).read_bytes() for name in files})
    manifest = await export(job_of(tmp_path, "hf-hub:org/clip", "open_clip"))
    assert (manifest.commit, manifest.library) == (commit, "open_clip")
    assert set(manifest.verification) == {"text_encoder", "image_encoder"}
    check_published(tmp_path / "output", manifest)


async def test_a_classifier_of_timm(exporting: ProcessPoolExecutor, hub: HubServer, tmp_path: Path) -> None:
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=4).result()
    commit = hub.add("org/net", tmp_path / "models" / "model")
    manifest = await export(job_of(tmp_path, "hf-hub:org/net", "timm"))
    assert (manifest.commit, manifest.labels) == (commit, ("0", "1", "2", "3"))
    check_published(tmp_path / "output", manifest)


def test_an_architecture_without_weights_is_never_filled_at_random(
    export_in_vain: Callable[[ExportJob], Manifest], hub: HubServer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match="'openai'"):
        export_in_vain(job_of(tmp_path, "ViT-B-32", "open_clip"))
    assert not hub.requests


def test_published_weights_that_the_hub_has_only_as_pickle_are_refused_where_it_is_forbidden(
    export_in_vain: Callable[[ExportJob], Manifest], hub: HubServer, tmp_path: Path
) -> None:
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", {"open_clip_pytorch_model.bin": b"pickle"})
    job = job_of(tmp_path, "ViT-B-32", "open_clip", "laion2b_s34b_b79k")
    with pytest.raises(UnsupportedModelError, match="pickle"):
        export_in_vain(msgspec.structs.replace(job, pickled_weights=False))


def test_published_weights_that_the_hub_has_only_as_pickle_are_fetched_and_never_run(
    export_in_vain: Callable[[ExportJob], Manifest], hub: HubServer, tmp_path: Path
) -> None:
    hub.add("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", {"open_clip_pytorch_model.bin": b"no pickle"})
    with pytest.raises(UnsupportedModelError, match="is damaged, or a pickle"):
        export_in_vain(job_of(tmp_path, "ViT-B-32", "open_clip", "laion2b_s34b_b79k"))


def test_a_model_that_the_hub_does_not_have(
    export_in_vain: Callable[[ExportJob], Manifest], hub: HubServer, tmp_path: Path
) -> None:
    with pytest.raises(SourceNotFoundError):
        export_in_vain(job_of(tmp_path, "resnet50", "timm"))
    assert any("timm/resnet50.a1_in1k" in request.path for request in hub.requests)
