"""timm models: exported, proved, and asked again from what was published."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import clip_in_process as in_process
import numpy as np
import pytest

from ingrain.export.families.timm.checkpoint import labels_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("architecture", "width"),
    [
        pytest.param("mobilenetv3_small_050", 1024, marks=pytest.mark.smoke),
        ("vit_tiny_patch16_224", 192),
        ("convnext_atto", 320),
    ],
)
def test_a_network_without_a_head_is_an_image_encoder_as_wide_as_its_output(
    exporting: ProcessPoolExecutor, tmp_path: Path, architecture: str, width: int
) -> None:
    """MobileNetV3 says num_features 288, and gives 1024."""
    exporting.submit(in_process.build_timm, architecture, tmp_path, num_classes=0).result()
    manifest = exporting.submit(in_process.run, tmp_path, "timm").result()
    assert manifest.embedding_size == width
    assert [graph.role for graph in manifest.graphs] == ["image_encoder"]
    assert manifest.labels == ()
    assert manifest.text is None
    files = in_process.proof_pictures()
    ours = exporting.submit(in_process.run_pictures, tmp_path / "output", files, "image_encoder").result()
    theirs = exporting.submit(in_process.ask_timm, tmp_path, files).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_classifier_without_its_head_is_the_embedder_that_timm_makes_of_it(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Its head is left out, what comes before it is pooled; and the proof of what is stored knows that."""
    exporting.submit(in_process.build_timm, "mobilenetv3_small_050", tmp_path, num_classes=7).result()
    manifest = exporting.submit(in_process.run, tmp_path, "timm", task="embed").result()
    assert [graph.role for graph in manifest.graphs] == ["image_encoder"]
    assert (manifest.task, manifest.embedding_size, manifest.labels) == ("embed", 1024, ())
    files = in_process.proof_pictures()
    ours = exporting.submit(in_process.run_pictures, tmp_path / "output", files, "image_encoder").result()
    theirs = exporting.submit(in_process.ask_timm, tmp_path, files, num_classes=0).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    proved = exporting.submit(in_process.publish_and_prove, tmp_path, "timm", tmp_path / "stored").result()
    assert proved.verification["image_encoder"].max_abs_diff < 1e-4


def test_a_classifier_without_its_head_whose_weights_lack_some_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """The library itself fills them at random once the head is left out."""
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=3).result()
    exporting.submit(in_process.drop_weights, tmp_path, "layer1.").result()
    assert exporting.submit(in_process.export_error, tmp_path, "timm", task="embed").result() != "published"


def test_a_network_without_a_head_is_no_classifier(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=0).result()
    error = exporting.submit(in_process.export_error, tmp_path, "timm", task="classify").result()
    assert error.startswith("unsupported_model: The model has no classifier layer")


def test_a_classifier_is_published_with_its_labels(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    options = {"num_classes": 3, "model_config": {"label_names": ["wing", "wheel", "Ärmel"]}}
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, **options).result()
    manifest = exporting.submit(in_process.run, tmp_path, "timm").result()
    assert manifest.labels == ("wing", "wheel", "Ärmel")
    assert manifest.graphs[0].role == "classifier"
    assert manifest.graphs[0].outputs[0].shape == (-1, 3)


@pytest.mark.parametrize(
    ("names", "labels"), [({"0": "wing", "2": "sleeve"}, ("wing", "1", "sleeve")), (None, ("0", "1", "2"))]
)
def test_labels_are_the_model_s_own_or_numbers(
    exporting: ProcessPoolExecutor, names: dict[str, str] | None, labels: tuple[str, ...]
) -> None:
    assert exporting.submit(labels_of, {"label_names": names}, 3).result() == labels


def test_more_labels_than_classes_are_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    options = {"num_classes": 3, "model_config": {"label_names": ["a", "b", "c", "d"]}}
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, **options).result()
    error = exporting.submit(in_process.export_error, tmp_path, "timm").result()
    assert error == "unsupported_model: The model has 3 classes but 4 label_names."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "hf-hub:org/evil"}, "architecture"),
        ({"architecture": "no_such_network"}, "timm cannot load"),
        ({"num_classes": 7}, "classes"),
        ({"model_args": {"in_chans": 1}}, "1 channels"),
        ({"model_args": {"pretrained_cfg_overlay": {"file": "/tmp/x.pth", "source": ""}}}, "pretrained_cfg_overlay"),
        ({"pretrained_cfg": {"crop_mode": "mirror", "input_size": [3, 64, 64], "num_classes": 3}}, "crop_mode"),
        ({"pretrained_cfg": {"interpolation": "random", "num_classes": 3}}, "interpolation"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(
    exporting: ProcessPoolExecutor, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=3).result()
    error = exporting.submit(in_process.export_error_after, tmp_path, change).result()
    assert error.startswith(("unsupported_model: ", "export_failed: "))
    assert reason in error


def test_weights_as_pickle_alone_give_what_the_source_gives(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """The source library reads the very pickle."""
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=0).result()
    exporting.submit(in_process.pickle_timm, tmp_path).result()
    assert exporting.submit(in_process.export_error, tmp_path, "timm").result() == "published"
    files = in_process.proof_pictures()
    ours = exporting.submit(in_process.run_pictures, tmp_path / "output", files, "image_encoder").result()
    theirs = exporting.submit(in_process.ask_timm, tmp_path, files).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_weights_that_are_no_pickle_in_spite_of_their_name_are_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    exporting.submit(in_process.build_timm, "resnet10t", tmp_path, num_classes=3).result()
    folder = tmp_path / "models" / "model"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = exporting.submit(in_process.export_error, tmp_path, "timm").result()
    assert error.startswith("unsupported_model: The model's 'pytorch_model.bin' is damaged")
