"""What reaches a vector comes from the model's files: what is not whole is refused by its tensors' names."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weights_in_process as in_process

from ingrain.vocabulary import Library

pytestmark = pytest.mark.slow

ST: Library = "sentence_transformers"
CLIP: Library = "open_clip"
TIMM: Library = "timm"

LACKS, ANOTHER_SHAPE, NO_PLACE = "lack tensors", "have another shape", "has no place for"
LAYER_1 = "encoder.layer.1.attention.output.LayerNorm.bias"
FIVE_CLASSES = {"config": {"num_classes": 5, "model_args.num_classes": 5, "pretrained_cfg.num_classes": 5}}
MORE_BLOCKS = {"model_args": {"layers": [2, 1, 1, 1]}}


@pytest.mark.parametrize(
    ("library", "fault", "reason", "tensor"),
    [
        (ST, {"lacks": "encoder.layer.1."}, LACKS, LAYER_1),
        (ST, {"lacks": "encoder.layer.1.", "precision": "int8"}, LACKS, LAYER_1),
        # What a library fills with zeros or ones is the same in every load.
        (ST, {"lacks": "layer.1.attention.self.query.bias"}, LACKS, "encoder.layer.1.attention.self.query.bias"),
        (ST, {"lacks": "layer.0.output.LayerNorm.weight"}, LACKS, "encoder.layer.0.output.LayerNorm.weight"),
        (ST, {"renames": ("encoder.", "coder.")}, LACKS, "encoder.layer.0.attention.output.LayerNorm.bias"),
        (ST, {"config": {"num_hidden_layers": 4}}, LACKS, "encoder.layer.2.attention.output.LayerNorm.bias"),
        (ST, {"config": {"num_hidden_layers": 1}}, NO_PLACE, LAYER_1),
        (ST, {"adds": "encoder.layer.0.attention.self.query.lora_A.weight"}, NO_PLACE, "query.lora_A.weight"),
        (ST, {"config": {"intermediate_size": 40}}, ANOTHER_SHAPE, "encoder.layer.0.intermediate.dense.bias"),
        (ST, {"in_folder": "2_Dense", "lacks": "bias"}, LACKS, "linear.bias"),
        (ST, {"in_folder": "2_Dense", "config": {"out_features": 12}}, ANOTHER_SHAPE, "linear.weight"),
        (CLIP, {"lacks": "visual.transformer.resblocks.1."}, LACKS, "resblocks.1.attn.in_proj_bias"),
        (CLIP, {"lacks": "logit_bias"}, LACKS, "logit_bias"),
        (CLIP, {"config": {"model_cfg.text_cfg.layers": 3}}, LACKS, "text.transformer.resblocks.2.attn.in_proj_bias"),
        (
            CLIP,
            {"config": {"model_cfg.text_cfg.layers": 1}},
            NO_PLACE,
            "text.transformer.resblocks.1.attn.in_proj_bias",
        ),
        (CLIP, {"config": {"model_cfg.embed_dim": 20}}, ANOTHER_SHAPE, "text.text_projection.bias"),
        (TIMM, {"lacks": "layer2.0."}, LACKS, "layer2.0.bn1.bias"),
        (TIMM, {"lacks": "layer2.0.bn1.running_var"}, LACKS, "layer2.0.bn1.running_var"),
        (TIMM, {"config": MORE_BLOCKS}, LACKS, "layer1.1.bn1.bias"),
        (TIMM, {"adds": "layer4.1.conv1.weight"}, NO_PLACE, "layer4.1.conv1.weight"),
        (TIMM, FIVE_CLASSES, ANOTHER_SHAPE, "fc.bias"),
    ],
)
def test_weights_that_are_not_the_networks_are_refused_by_name_before_a_graph_is_made(
    exporting: ProcessPoolExecutor, tmp_path: Path, library: Library, fault: dict[str, Any], reason: str, tensor: str
) -> None:
    message = exporting.submit(in_process.refusal_of_broken, library, tmp_path, **fault).result()
    assert message.startswith("unsupported_model: The model's weights ")
    assert reason in message
    assert tensor in message


@pytest.mark.parametrize(
    "harmless",
    [
        {},
        {"lacks": "pooler."},
        {"adds": "cls.predictions.transform.dense.weight"},
        {"adds": "decoder.layer.0.output.dense.weight"},
        {"adds": "encoder.layer.0.attention.self.rotary_emb.inv_freq"},
    ],
)
def test_what_no_vector_depends_on_may_be_missing_or_left_over(
    exporting: ProcessPoolExecutor, tmp_path: Path, harmless: dict[str, Any]
) -> None:
    assert exporting.submit(in_process.refusal_of_broken, ST, tmp_path, **harmless).result() == "exported"


def test_the_second_load_has_other_random_numbers_and_nan_in_unset_memory(exporting: ProcessPoolExecutor) -> None:
    done = exporting.submit(in_process.tensors_of_two_loads).result()
    assert done["equal"] == [False]
    assert done["unset"][1]


@pytest.mark.parametrize("frequencies", ["torch.empty(width // 2)", "torch.rand(width // 2)"])
def test_a_buffer_that_is_another_one_in_each_load_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path, frequencies: str
) -> None:
    """The buffer beside it is unset, too, and no vector depends on it."""
    message = exporting.submit(in_process.refusal_of_turning, tmp_path, frequencies).result()
    assert message.startswith("unsupported_model: ")
    assert message.endswith(": 'layers.0.rotary.inv_freq', 'layers.1.rotary.inv_freq'.")


def test_a_tensor_that_is_no_buffer_and_another_one_in_each_load_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    message = exporting.submit(in_process.refusal_of_turning_by_an_attribute, tmp_path).result()
    assert message.startswith("unsupported_model: The model gives other vectors each time it is loaded")


@pytest.mark.parametrize("library", [CLIP, TIMM])
def test_a_buffer_that_nobody_sets_is_refused_in_networks_of_pictures_too(
    exporting: ProcessPoolExecutor, tmp_path: Path, library: Library
) -> None:
    message = exporting.submit(in_process.refusal_of_drifting, tmp_path, library).result()
    assert message.startswith("unsupported_model: ")
    assert message.endswith("drift'.")


def test_buffers_of_code_that_comes_with_a_model_are_its_constructors(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Without them word order does not matter: they hold whatever was in memory, here and in the source library."""
    ours, theirs = exporting.submit(in_process.vectors_of_turning, tmp_path).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    (served, shuffled), (true, true_shuffled) = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours, theirs)
    )
    assert served @ shuffled < 0.9999
    assert served @ shuffled == pytest.approx(float(true @ true_shuffled), abs=1e-5)


def test_code_that_sets_weights_anew_does_not_undo_what_files_gave(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """It is asked again for each module that has a buffer; zeros are the same in every load."""
    ours, theirs = exporting.submit(in_process.vectors_of_code_that_sets_weights_anew, tmp_path).result()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neo"])
def test_masks_that_older_versions_wrote_are_no_layers(exporting: ProcessPoolExecutor, kind: str) -> None:
    assert "lora_A" in exporting.submit(in_process.refusal_of_left_over_masks, kind).result()


def test_a_machine_without_memory_is_not_a_models_lack_of_tensors(exporting: ProcessPoolExecutor) -> None:
    assert exporting.submit(in_process.error_of_a_probe_without_memory).result() == "OutOfMemoryError"
    assert exporting.submit(in_process.error_of_a_load_without_memory).result() == "OutOfMemoryError"
