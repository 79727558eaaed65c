"""Small models of many kinds, exported, proved, and embedded again from what was published."""

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process as in_process
import numpy as np
import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.repository.checksums import check_files

pytestmark = pytest.mark.slow

Export = Callable[[str], in_process.Exported]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("BERT", marks=pytest.mark.smoke),
        "ModernBERT",
        "T5 encoder",
        "Mixtral",
        "Longformer",
        "Pooling weightedmean without the prompt",
        "WeightedLayerPooling, Pooling mean + max + cls",
        "Plain transformers folder of DeBERTa-v2",
        "truncate_dim of a float16 checkpoint",
    ],
)
def test_the_published_files_alone_give_the_vectors_of_the_source(exported: Export, name: str) -> None:
    done = exported(name)
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)
    verification = done.manifest.verification["text_encoder"]
    assert verification.max_abs_diff < 1e-5
    assert verification.cases > 100
    assert verification.tokenizer_cases > 500
    assert done.manifest.embedding_size == len(done.expected[0])
    assert not done.manifest.graphs[0].equal_lengths_only
    check_files(done.output / "model", done.manifest.files, contents=True)
    for graph in done.manifest.graphs:
        check_files(done.output / graph.name, graph.files, contents=True)


def test_what_the_newer_exporter_cannot_express_is_left_to_the_older_one(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """XLNet, which also pads on the left and gives its last token a type of its own; its weights beside the graph."""
    done = exporting.submit(in_process.export_with_weights_outside, "XLNet", tmp_path).result()
    assert done.exporter.startswith("text, torchscript")
    assert done.manifest.text is not None
    assert done.manifest.text.padding_side == "left"
    assert "token_type_ids" in [tensor.name for tensor in done.manifest.graphs[0].inputs]
    check_weights_outside(done)
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)


def check_weights_outside(done: in_process.Exported) -> None:
    """The manifest lists both files."""
    graph = done.manifest.graphs[0]
    assert [file.path for file in graph.files] == ["1/model.onnx", "1/model.onnx.data"]
    check_files(done.output / graph.name, graph.files, contents=True)


def test_weights_too_large_for_one_file_lie_beside_the_graph(exported_with_weights_outside: Export) -> None:
    """Of the newer exporter; those of the older one are in the test above."""
    done = exported_with_weights_outside("BERT")
    check_weights_outside(done)
    np.testing.assert_allclose(done.vectors[0], done.expected[0], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["MobileBERT", "GPT-2, left padding"])
def test_a_network_whose_own_vectors_move_with_padding_is_batched_by_equal_length(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str
) -> None:
    done = exporting.submit(in_process.export, name, tmp_path).result()
    assert done.manifest.graphs[0].equal_lengths_only
    verification = done.manifest.verification["text_encoder"]
    assert verification.max_abs_diff < 1e-5
    assert verification.padding_diff > 1e-3  # what the source itself does


@pytest.mark.parametrize("name", ["StaticEmbedding, Normalize"])
def test_a_static_model_gives_a_text_without_tokens_zeros_as_its_source_does(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str
) -> None:
    done = exporting.submit(in_process.export, name, tmp_path).result()
    assert done.manifest.text is not None
    assert done.manifest.text.allow_empty
    assert not done.vectors[in_process.TEXTS.index("")].any()
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["Funnel", "WordEmbeddings", "Router"])
def test_what_cannot_be_converted_is_refused_with_a_reason(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=r"cannot be (converted|served)"):
        exporting.submit(in_process.export, name, tmp_path).result()


def test_a_graph_with_one_changed_weight_is_refused_and_the_difference_named(
    exporting: ProcessPoolExecutor, exported: Export, tmp_path: Path
) -> None:
    shutil.copytree(exported("BERT").output.parent, tmp_path, dirs_exist_ok=True)
    message = exporting.submit(in_process.prove_changed_graph, tmp_path).result()
    assert "differ from the source library's by up to 0.0" in message


def test_a_tokenizer_with_two_swapped_words_is_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(in_process.build, "BERT", tmp_path / "models" / "model").result()
    message = exporting.submit(in_process.prove_changed_tokenizer, tmp_path).result()
    assert "other input_ids than the source's" in message


def test_the_same_model_gives_the_same_graph(exporting: ProcessPoolExecutor, exported: Export, tmp_path: Path) -> None:
    """Nothing of the run (times, paths, stack traces) is in the file."""
    done = exported("BERT")
    shutil.copytree(done.output.parent / "models", tmp_path / "models")
    first, second = done.manifest, exporting.submit(in_process.export_manifest, tmp_path).result()
    assert first.graphs[0].files == second.graphs[0].files
    assert first.files == second.files
