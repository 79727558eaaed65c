"""Models of a user's own: fetched from a real host, exported, with the source's vectors.

One of sentence-transformers and one that asks a hub go through the real export process. It takes ten seconds to start,
so that the others are exported by the same function in the process that has torch already.
"""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import clip_in_process as clip_process
import custom_in_process as custom_process
import export_in_process as text_process
import msgspec
import numpy as np
import pytest

from custom_files import CLIP, ST, TIMM
from hub_server import HubServer
from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import (
    DamagedEntryError,
    InvalidRequestError,
    SourceNotFoundError,
    UnsupportedModelError,
)
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import run_export
from ingrain.fetch.policy import FetchPolicy
from ingrain.repository.manifest import Manifest
from ingrain.repository.store import Repository
from ingrain.sources.custom.architecture import architecture_config
from ingrain.sources.custom.download import Downloads
from ingrain.vocabulary import Library
from picture_server import PictureServer, answer

pytestmark = pytest.mark.slow

Export = Callable[[ExportJob], Manifest]

TOKENIZER = {"tokenizerJsonUrl": "tokenizer.json", "tokenizerConfigJsonUrl": "tokenizer_config.json"}
WHOLE_ST = {
    "safetensorsUrl": "model.safetensors",
    "configJsonUrl": "config.json",
    **TOKENIZER,
    "poolingConfigJsonUrl": "1_Pooling/config.json",
    "sentenceBertConfigJsonUrl": "sentence_bert_config.json",
    "modulesJsonUrl": "modules.json",
}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing may come from anywhere but the URLs, unless a test says so."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("INGRAIN_EXPORT_THREADS", "1")


async def download(folder: Path, library: Library, files: dict[str, str], **values: Any) -> Repository:
    """Download ``models/model`` as ``mine``, its files served from a host on loopback."""
    repository = Repository(folder / "repository")
    repository.prepare()
    source = folder / "models" / "model"
    async with PictureServer() as host:
        host.replies |= {
            f"/{path.relative_to(source).as_posix()}": answer(path.read_bytes())
            for path in source.rglob("*")
            if path.is_file()
        }
        urls = {field: host.url(f"/{path}") for field, path in files.items()}
        body = {"name": "mine", "library": library, **urls, **values}
        policy = FetchPolicy(exceptions=frozenset({("127.0.0.1", host.port)}))
        downloads = Downloads.make(repository, policy, local_models_dir=None, max_bytes=10**10, timeout_s=600)
        try:
            await downloads.download(msgspec.convert(body, DownloadCustomModelRequest))
        finally:
            await downloads.aclose()
    return repository


def job_of(repository: Repository, library: Library, name: str = "mine", **options: Any) -> ExportJob:
    """Return the job of a downloaded model; where the operator allows code that comes with models."""
    output = repository.root.parent / "output"
    output.mkdir(exist_ok=True)
    return ExportJob(
        name=name,
        library=library,
        output=str(output),
        custom_models_dir=str(repository.custom.folder),
        trust_remote_code=("*",),
        offline=True,
        **options,
    )


async def export_as_the_server_does(job: ExportJob) -> Manifest:
    """Export in a process of its own."""
    return await run_export(job, timeout_s=280, on_progress=lambda _: None)


@pytest.fixture
def export(exporting: ProcessPoolExecutor) -> Export:
    """Export in the process that has torch already."""
    return lambda job: exporting.submit(custom_process.run, job).result()


def same_direction(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Vectors are the source's within 1e-4, at unit length."""
    ours, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "files", "as_the_server_does"),
    [
        ("cls, normalized", WHOLE_ST, True),
        ("RoBERTa", {name: path for name, path in WHOLE_ST.items() if name != "modulesJsonUrl"}, False),
    ],
    ids=["every file, with Normalize", "without modules.json"],
)
async def test_a_sentence_transformers_model_has_its_sources_vectors(
    exporting: ProcessPoolExecutor,
    export: Export,
    tmp_path: Path,
    model: str,
    files: dict[str, str],
    as_the_server_does: bool,
) -> None:
    exporting.submit(custom_process.build_text, model, tmp_path / "models" / "model").result()
    job = job_of(await download(tmp_path, ST, files), ST)
    manifest = await export_as_the_server_does(job) if as_the_server_does else export(job)
    assert (manifest.name, manifest.commit) == ("mine", None)
    texts = text_process.TEXTS
    ours = [text_process.embed_published(tmp_path / "output", [text])[0] for text in texts]
    theirs = exporting.submit(text_process.embed_source, tmp_path / "models" / "model", texts).result()
    np.testing.assert_allclose(np.stack(ours), theirs, atol=1e-4 * float(np.abs(theirs).max()))
    same_direction(np.stack(ours), theirs)


async def test_the_network_and_a_vocabulary_are_enough_for_bert(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    """Without a pooling's configuration, the mean, as the source library has it."""
    source = tmp_path / "models" / "model"
    exporting.submit(custom_process.build_text, "BERT", source).result()
    exporting.submit(custom_process.only_vocabulary, source).result()
    files = {"safetensorsUrl": "model.safetensors", "configJsonUrl": "config.json", "vocabTxtUrl": "vocab.txt"}
    export(job_of(await download(tmp_path, ST, files), ST))
    ours = np.concatenate([text_process.embed_published(tmp_path / "output", [text]) for text in text_process.TEXTS])
    theirs = exporting.submit(text_process.embed_source, source, text_process.TEXTS).result()
    same_direction(ours, theirs)


async def test_an_open_clip_model_has_its_sources_vectors(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    """A SigLIP with its own tokenizer; how pictures are prepared is said by the request alone."""
    source = tmp_path / "models" / "model"
    exporting.submit(clip_process.build_tiny, "SigLIP", source).result()
    config = json.loads((source / "open_clip_config.json").read_text())
    (source / "bare.json").write_text(json.dumps({"model_cfg": config["model_cfg"]}))
    files = {"safetensorsUrl": "open_clip_model.safetensors", "configJsonUrl": "bare.json", **TOKENIZER}
    values = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resizeMode": "squash", "mode": "RGB"}
    repository = await download(tmp_path, CLIP, files, **values)
    manifest = export(job_of(repository, CLIP))
    assert set(manifest.verification) == {"text_encoder", "image_encoder"}
    theirs = exporting.submit(clip_process.ask_open_clip, source).result()
    same_direction(clip_process.embed_texts(tmp_path / "output", clip_process.TEXTS), theirs["text_encoder"])
    pictures = exporting.submit(clip_process.proof_pictures).result()
    same_direction(clip_process.embed_pictures(tmp_path / "output", pictures), theirs["image_encoder"])
    assert {path.name for path in (tmp_path / "output").iterdir()} == {"model", *(g.name for g in manifest.graphs)}


async def test_an_open_clip_model_with_clips_own_tokenizer(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    source = tmp_path / "models" / "model"
    exporting.submit(clip_process.build_tiny, "CLIP, ViT", source).result()
    files = {"safetensorsUrl": "open_clip_model.safetensors", "configJsonUrl": "open_clip_config.json"}
    repository = await download(tmp_path, CLIP, files, pretrained="my-tag")
    with pytest.raises(SourceNotFoundError):
        export(job_of(repository, CLIP))  # the tag is a part of the name
    export(job_of(repository, CLIP, pretrained="my-tag"))
    theirs = exporting.submit(clip_process.ask_open_clip, source).result()
    same_direction(clip_process.embed_texts(tmp_path / "output", clip_process.TEXTS), theirs["text_encoder"])


async def test_a_text_tower_of_the_hub_is_fetched_from_there(
    exporting: ProcessPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No field of the request can give its configuration, so that the hub does, as for a local folder."""
    source = tmp_path / "models" / "model"
    exporting.submit(clip_process.build_tiny, "RoBERTa", source).result()
    files = {"safetensorsUrl": "open_clip_model.safetensors", "configJsonUrl": "open_clip_config.json", **TOKENIZER}
    repository = await download(tmp_path, CLIP, files)
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        hub.add("example/text-tower", {"config.json": (source / "text_config" / "config.json").read_bytes()})
        (tmp_path / "output").mkdir()
        job = ExportJob(
            name="mine",
            library=CLIP,
            output=str(tmp_path / "output"),
            custom_models_dir=str(repository.custom.folder),
        )
        await export_as_the_server_does(job)
    theirs = exporting.submit(clip_process.ask_open_clip, source).result()
    same_direction(clip_process.embed_texts(tmp_path / "output", clip_process.TEXTS), theirs["text_encoder"])


@pytest.mark.parametrize("named", [False, True], ids=["with its configuration", "by the architecture's name"])
async def test_a_timm_model_has_its_sources_logits(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path, named: bool
) -> None:
    """Either the configuration comes from a URL, or timm's own of that name is taken, with another head."""
    exporting.submit(clip_process.build_timm, "resnet10t", tmp_path, num_classes=4).result()
    name = "resnet10t" if named else "mine"
    files = {"safetensorsUrl": "model.safetensors"} | ({} if named else {"configJsonUrl": "config.json"})
    repository = await download(tmp_path, TIMM, files, name=name, numClasses=4)
    job = job_of(repository, TIMM, name)
    manifest = export(job)
    assert (manifest.embedding_size, manifest.labels) == (4, ("0", "1", "2", "3"))
    pictures = exporting.submit(clip_process.proof_pictures).result()
    theirs = exporting.submit(clip_process.ask_timm, tmp_path, pictures).result()
    ours = clip_process.run_pictures(tmp_path / "output", pictures, "classifier")
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.abs(theirs).max()))


async def test_a_head_that_the_weights_do_not_have_stops_the_export(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    exporting.submit(clip_process.build_timm, "resnet10t", tmp_path, num_classes=4).result()
    files = {"safetensorsUrl": "model.safetensors", "configJsonUrl": "config.json"}
    repository = await download(tmp_path, TIMM, files, numClasses=5)
    with pytest.raises(
        UnsupportedModelError, match=r"another shape than its configuration says: 'fc\.bias', 'fc\.weight'"
    ):
        export(job_of(repository, TIMM))


async def test_code_is_not_run_even_where_the_operator_allows_it(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    source = tmp_path / "models" / "model"
    exporting.submit(custom_process.build_text, "BERT", source).result()
    config = json.loads((source / "config.json").read_text())
    code = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (source / "config.json").write_text(json.dumps(config | code))
    repository = await download(tmp_path, ST, WHOLE_ST)
    with pytest.raises(UnsupportedModelError, match="code that comes with the model"):
        export(job_of(repository, ST))


async def test_custom_models_have_no_revisions_and_damage_is_told(
    exporting: ProcessPoolExecutor, export: Export, tmp_path: Path
) -> None:
    exporting.submit(clip_process.build_timm, "resnet10t", tmp_path, num_classes=4).result()
    files = {"safetensorsUrl": "model.safetensors", "configJsonUrl": "config.json"}
    repository = await download(tmp_path, TIMM, files)
    with pytest.raises(InvalidRequestError, match="no revisions"):
        export(job_of(repository, TIMM, revision="main"))
    next(repository.custom.folder.glob("*/files/config.json")).unlink()
    with pytest.raises(DamagedEntryError, match="DELETE /delete_model"):
        export(job_of(repository, TIMM))


async def test_a_name_that_is_no_architecture_needs_a_configuration(exporting: ProcessPoolExecutor) -> None:
    """Asked as a server asks; of timm, whose other names a test above asks for so, where it is imported already."""
    with pytest.raises(InvalidRequestError, match="configJsonUrl") as refusal:
        await architecture_config(CLIP, "no-such-architecture")
    assert refusal.value.param == "configJsonUrl"
    with pytest.raises(InvalidRequestError, match="configJsonUrl") as refusal:
        exporting.submit(custom_process.configuration_of, TIMM, "no-such-architecture").result()
    assert refusal.value.param == "configJsonUrl"


def test_the_configuration_of_every_open_clip_architecture_is_the_librarys(exporting: ProcessPoolExecutor) -> None:
    assert exporting.submit(custom_process.count_open_clip_architectures).result() >= 100
