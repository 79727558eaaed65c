"""Small OpenCLIP models of every kind of tower: exported, proved, and asked again from what was published."""

import functools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import numpy as np
import pytest

from ingrain.repository.checksums import check_files
from tiny_clip import TINY_CLIPS

pytestmark = pytest.mark.slow

Export = Callable[[str], tuple[Path, in_process.Exported]]


@pytest.fixture(scope="module")
def exported(exporting: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Export a small model once for all tests of this file."""

    @functools.cache
    def export(name: str) -> tuple[Path, in_process.Exported]:
        folder = tmp_path_factory.mktemp("clip")
        return folder, exporting.submit(in_process.export_clip, name, folder).result()

    return export


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.smoke if name == "CLIP, ViT" else ()) for name in TINY_CLIPS]
)
def test_the_published_files_alone_give_the_vectors_of_openclip(exported: Export, name: str) -> None:
    _, done = exported(name)
    manifest, tiny = done.manifest, TINY_CLIPS[name]
    for role in ("text_encoder", "image_encoder"):
        np.testing.assert_allclose(done.ours[role], done.theirs[role], atol=1e-5)
        assert manifest.verification[role].max_abs_diff < 1e-5
    # Had the network one answer for all, the comparison would show nothing.
    assert np.ptp(done.theirs["image_encoder"], axis=0).max() > 0.01
    assert manifest.verification["text_encoder"].tokenizer_cases > 500
    assert [graph.role for graph in manifest.graphs] == ["text_encoder", "image_encoder"]
    assert manifest.text is not None
    assert manifest.text.fixed_length is not tiny.any_length
    shape = manifest.graphs[0].inputs[0].shape
    assert shape == ((-1, -1) if tiny.any_length else (-1, manifest.text.max_tokens))
    assert manifest.graphs[1].inputs[0].dtype == "UINT8"
    assert manifest.embedding_size == 24
    assert manifest.similarity is not None
    sigmoid = "init_logit_bias" in tiny.model
    assert (manifest.similarity.activation, manifest.similarity.bias < 0) == (
        ("sigmoid", True) if sigmoid else ("softmax", False)
    )
    check_files(done.output / "model", manifest.files, contents=True)
    for graph in manifest.graphs:
        check_files(done.output / graph.name, graph.files, contents=True)
    assert sorted(path.name for path in done.output.iterdir()) == sorted(
        ["model", *(graph.name for graph in manifest.graphs)]
    )


@pytest.mark.parametrize(
    ("name", "context"), [("CLIP, ViT", 77), ("CoCa", 76), ("MetaCLIP 2, worldwide", 77), ("RoBERTa", 77)]
)
def test_a_text_has_the_same_vector_at_its_own_length_and_at_the_full_context(
    exporting: ProcessPoolExecutor, exported: Export, name: str, context: int
) -> None:
    folder, _ = exported(name)
    texts = ["a river runs to the sea", "", "stone!"]
    widths = (None, 12, context - 1, context)
    results = [exporting.submit(in_process.embed_texts, folder / "output", texts, width).result() for width in widths]
    for vectors in results[1:]:
        np.testing.assert_allclose(vectors, results[0], atol=2e-6)


@pytest.mark.parametrize("role", ["text_encoder", "image_encoder"])
def test_a_graph_with_one_changed_row_of_weights_is_refused(
    exporting: ProcessPoolExecutor, exported: Export, role: str
) -> None:
    folder, _ = exported("CLIP, ViT")
    message = exporting.submit(in_process.prove_changed_graph, folder, role).result()
    assert "from the source library's by up to 0." in message


def test_both_towers_of_a_stored_model_are_proved_again(
    exporting: ProcessPoolExecutor, exported: Export, tmp_path: Path
) -> None:
    folder, _ = exported("CLIP, ViT")
    manifest = exporting.submit(in_process.publish_and_prove, folder, "open_clip", tmp_path).result()
    assert set(manifest.verification) == {"text_encoder", "image_encoder"}
    assert all(proof.max_abs_diff < 1e-5 for proof in manifest.verification.values())


def test_pixels_of_another_filter_than_the_source_s_are_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    message = exporting.submit(in_process.prove_changed_geometry, tmp_path).result()
    assert "prepared images differ" in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preprocess_cfg.resize_mode": "mirror"}, "resize_mode"),
        ({"preprocess_cfg.interpolation": "lanczos"}, "interpolation"),
        ({"model_cfg.text_cfg.tokenizer_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"model_cfg.text_cfg.tokenizer_kwargs": {"reduction_mask": "random"}}, "reduction_mask"),
        ({"model_cfg.text_cfg.tokenizer_mode": "clips"}, "clips"),
        ({"model_cfg.text_cfg.hf_tokenizer_name": "org/words"}, "org/words"),
        ({"model_cfg.vision_cfg.timm_model_name": "hf-hub:org/evil"}, "hf-hub:org/evil"),
        ({"model_cfg.text_cfg.pool_type": "none"}, "pooling"),
        ({"model_cfg.text_cfg": None}, "text_cfg"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(
    exporting: ProcessPoolExecutor, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    error = exporting.submit(in_process.build_and_break, tmp_path, changes).result()
    assert error.startswith("unsupported_model: ")
    assert reason in error


def test_weights_that_do_not_fit_the_configuration_are_an_error(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Never filled up at random."""
    error = exporting.submit(in_process.build_and_break, tmp_path, {"model_cfg.vision_cfg.layers": 3}).result()
    assert error.startswith("unsupported_model: The model's weights lack tensors")
    assert "'visual.transformer.resblocks.2." in error


def test_a_text_tower_that_is_code_of_its_own_is_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    error = exporting.submit(in_process.with_code_in_the_text_tower, tmp_path).result()
    assert error.startswith("unsupported_model: ")
    assert "code that comes with the model" in error


def test_a_pickled_checkpoint_of_training_gives_the_vectors_of_the_source(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """OpenCLIP itself reads the very pickle."""
    done = exporting.submit(in_process.export_training_checkpoint, tmp_path).result()
    for role, theirs in done.theirs.items():
        np.testing.assert_allclose(done.ours[role], theirs, atol=1e-5)
