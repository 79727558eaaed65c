"""Models that name Python code: converted by transformers' own class, or by the code that is allowed."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import remote_code_in_process as in_process
from export_in_process import embed_published, embed_source
from remote_code_in_process import CODE, TEXTS

from hub_server import HubServer
from ingrain.errors import SourceNotFoundError, UnsupportedModelError
from ingrain.export.huggingface.native_classes import read_natively
from ingrain.export.process.job import ExportJob
from ingrain.repository.manifest import Manifest
from ingrain.repository.store import Repository

Run = Callable[..., Manifest]


@pytest.fixture(scope="module")
def model(exporting: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose code lies in another repository."""
    folder = tmp_path_factory.mktemp("models") / "model"
    return exporting.submit(in_process.build_as_on_the_hub, "code", folder).result()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def run(exporting: ProcessPoolExecutor, hub: HubServer, tmp_path: Path) -> Run:
    """Export ``org/model`` from the hub of the test."""
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }

    def export(output: str = "output", **options: object) -> Manifest:
        (tmp_path / output).mkdir()
        job = ExportJob(
            name="org/model",
            library="sentence_transformers",
            output=str(tmp_path / output),
            **options,  # type: ignore[arg-type]
        )
        return exporting.submit(in_process.run_in, job, environment).result()

    return export


@pytest.mark.parametrize(
    ("head", "given"),
    [
        ("ForSequenceClassification", {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
        ("ForMaskedLM", {"tie_word_embeddings": False}),
    ],
)
def test_what_a_head_depends_on_is_read_by_transformers_own_class_too(head: str, given: dict[str, object]):
    """Older cross-encoders name their activation function there; a sparse encoder may have a layer of its own."""
    config = in_process.GTE_MULTILINGUAL | {"vocab_size": 100, "architectures": [f"New{head}"], **given}
    config = read_natively(config, "NewModel")
    assert config is not None
    assert config.items() >= {"architectures": [f"Gte{head}"], **given}.items()


@pytest.mark.parametrize("kind", ["nomic", "arctic", "gte", "qwen2"])
@pytest.mark.parametrize("allowed", [(), ("*",)])
def test_a_class_that_transformers_has_too_is_taken_whether_code_is_allowed_or_not(
    exporting: ProcessPoolExecutor, tmp_path: Path, kind: str, allowed: tuple[str, ...]
) -> None:
    """With the hub's own names of sizes, too: two layers are built, not twelve."""
    folder = exporting.submit(in_process.build_as_on_the_hub, kind, tmp_path / "model").result()
    found, native, ran = exporting.submit(in_process.embed_settled, folder, allowed, tmp_path / "links").result()
    assert not ran
    np.testing.assert_array_equal(found, native)


def test_a_reranker_of_the_hub_keeps_its_head_in_transformers_own_class(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """gte-multilingual-reranker names code that transformers has too."""
    folder = exporting.submit(in_process.build_reranker, "gte", tmp_path / "model").result()
    found, native, ran = exporting.submit(in_process.score_settled, folder, (), tmp_path / "links").result()
    assert not ran
    np.testing.assert_array_equal(found, native)


def test_a_reranker_in_its_own_code_is_loaded_where_that_is_allowed(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    folder = exporting.submit(in_process.build_reranker, "own", tmp_path / "model").result()
    found, native, ran = exporting.submit(in_process.score_settled, folder, ("model",), tmp_path / "links").result()
    assert ran
    np.testing.assert_allclose(found, 2 * native, rtol=1e-6)
    with pytest.raises(UnsupportedModelError, match="Add 'model' to INGRAIN_TRUST_REMOTE_CODE"):
        exporting.submit(in_process.score_settled, folder, (), tmp_path / "other").result()


def test_rotations_with_fixed_scaling_are_those_of_the_code(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Alibaba-NLP/new-impl: base times factor, and each frequency divided by the factor's power of 2 / dim."""
    folder = exporting.submit(in_process.build_as_on_the_hub, "gte", tmp_path / "model").result()
    found = exporting.submit(in_process.frequencies_of_gte, folder, tmp_path / "links").result()
    dim, factor = 8, 8.0
    expected = 1 / (20000 * factor) ** (np.arange(0, dim, 2) / dim) / factor ** (2 / dim)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_code_in_another_repository_is_fetched_and_run_where_it_is_allowed(
    run: Run, hub: HubServer, model: Path, tmp_path: Path, exporting: ProcessPoolExecutor
) -> None:
    hub.add("org/model", model)
    commit = hub.add("org/code", CODE | {"README.md": b"code", "model.safetensors": b"never read"})
    manifest = run(trust_remote_code=("other/*", "org/code"))
    ((repository, at, files),) = in_process.code_of(manifest)
    assert (repository, at, files) == ("org/code", commit, sorted(CODE))
    assert not hub.gets("/org/code/resolve/main"), "only at a commit"
    assert not hub.gets("README.md")
    native = exporting.submit(embed_source, model.with_name("model.native"), TEXTS).result()
    found = embed_published(tmp_path / "output", TEXTS)
    np.testing.assert_allclose(found, native[:, ::-1], atol=1e-4)

    # Proved again at the same commit, whatever the code has become since.
    hub.add("org/code", {"modeling_tiny.py": b"raise SystemExit"})
    repository_folder = Repository(tmp_path / "repository")
    repository_folder.prepare()
    with repository_folder.staging() as staging:
        (tmp_path / "output").rename(staging / "x")
        for part in (staging / "x").iterdir():
            part.rename(staging / part.name)
        (staging / "x").rmdir()
        repository_folder.publish(staging)
    proved = run(
        "scratch",
        trust_remote_code=("org/code",),
        code_commits={"org/code": commit},
        stored_in=str(repository_folder.root),
    )
    assert proved.code == manifest.code


def test_code_that_is_not_allowed_is_refused_with_what_would_allow_it(run: Run, hub: HubServer, model: Path) -> None:
    hub.add("org/model", model)
    hub.add("org/code", CODE)
    with pytest.raises(UnsupportedModelError, match=r"Add 'org/code' to INGRAIN_TRUST_REMOTE_CODE"):
        run(trust_remote_code=("org/model", "org/other"))
    assert not hub.gets("/org/code/"), "nothing was fetched that may not be run"
    assert not hub.gets("model.safetensors"), "nor weights that would be of no use"


def test_code_is_allowed_at_one_commit_alone(run: Run, hub: HubServer, model: Path) -> None:
    hub.add("org/model", model)
    hub.add("org/code", CODE)
    with pytest.raises(SourceNotFoundError, match="no revision"):
        run(trust_remote_code=("org/code@" + "0" * 40,))


def test_code_of_ones_own_is_run_where_the_model_is_allowed(
    exporting: ProcessPoolExecutor, model: Path, tmp_path: Path
) -> None:
    for file in model.rglob("*"):
        if file.is_file() and file.suffix != ".py":
            (tmp_path / "model" / file.relative_to(model)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "model" / file.relative_to(model)).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {key: value.partition("--")[2] for key, value in config["auto_map"].items()}
    in_process.write(tmp_path / "model" / "config.json", config)
    for name, content in CODE.items():
        (tmp_path / "model" / name).write_bytes(content)
    (tmp_path / "model.native").symlink_to(model.with_name("model.native"))
    found, native, ran = exporting.submit(
        in_process.embed_settled, tmp_path / "model", ("mod*",), tmp_path / "links"
    ).result()
    assert ran
    np.testing.assert_allclose(found, native[:, ::-1], atol=1e-6)
    with pytest.raises(UnsupportedModelError, match="Add 'model' to"):
        exporting.submit(in_process.embed_settled, tmp_path / "model", ("org/*",), tmp_path / "other").result()


def test_manifests_of_before_tell_of_no_code() -> None:
    told = {"name": "m", "library": "timm", "architecture": "x", "created_at": "", "versions": {}}
    assert msgspec.convert(told | {"embedding_size": 1, "graphs": []}, Manifest).code == ()
