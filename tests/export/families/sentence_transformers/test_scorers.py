"""Cross-encoders and text classifiers: converted, proved, and refused where their scores could not be the library's."""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import pytest

from tiny_models import build_family
from tiny_scorers import NLI, build_classifier, build_cross_encoder

pytestmark = pytest.mark.slow

LIBRARY = "sentence_transformers"


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model"


def test_a_reranker_in_int8_keeps_the_order_and_is_proved_again(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(build_cross_encoder, folder_of(tmp_path), seed=3).result()
    manifest = exporting.submit(in_process.run, tmp_path, LIBRARY, precision="int8").result()
    assert (manifest.task, manifest.tasks, manifest.labels) == ("rerank", ("rerank", "classify"), ("LABEL_0",))
    assert manifest.scoring.activation == "sigmoid"
    proof = manifest.verification["text_scorer"]
    assert proof.rank_correlation >= proof.rank_correlation_floor == 0.98
    assert proof.mean_abs_diff <= proof.mean_abs_diff_limit
    proved = exporting.submit(in_process.publish_and_prove, tmp_path, LIBRARY, tmp_path / "stored").result()
    assert proved.verification["text_scorer"].rank_correlation == pytest.approx(proof.rank_correlation, abs=1e-3)


def test_a_classifier_of_the_last_end_token_is_converted(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """BART's head selects the end tokens by a mask, whose size the exporters would fix."""
    from tiny_scorers import CLASSIFIERS

    exporting.submit(CLASSIFIERS["BART, inference (bart-large-mnli)"], folder_of(tmp_path)).result()
    manifest = exporting.submit(in_process.run, tmp_path, LIBRARY).result()
    assert (manifest.task, manifest.labels) == ("classify", NLI)
    proof = manifest.verification["text_scorer"]
    assert (proof.measured, proof.tolerance, proof.relative_tolerance) == ("probabilities", 1e-4, 1e-3)
    assert proof.max_relative_diff < 1e-3
    assert proof.tokenizer_cases > 1000


def test_an_activation_function_that_is_not_known_is_refused(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    exporting.submit(build_cross_encoder, folder).result()
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    settings["activation_fn"] = "torch.nn.modules.activation.GELU"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    error = exporting.submit(in_process.export_error, tmp_path, LIBRARY).result()
    assert error.startswith("unsupported_model: The model's activation function 'GELU'")


def test_weights_without_a_head_are_no_classifier(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """The library itself would make one at random."""
    exporting.submit(build_classifier, folder_of(tmp_path), labels=2).result()
    exporting.submit(in_process.drop_weights, tmp_path, "classifier.").result()
    assert "classifier" in exporting.submit(in_process.export_error, tmp_path, LIBRARY).result()


@pytest.mark.parametrize("task", ["rerank", "classify", "embed_sparse"])
def test_an_embedding_model_has_no_other_task(exporting: ProcessPoolExecutor, tmp_path: Path, task: str) -> None:
    exporting.submit(build_family, "BERT", folder_of(tmp_path)).result()
    error = exporting.submit(in_process.export_error, tmp_path, LIBRARY, task=task).result()
    assert error.startswith("unsupported_model: The model is an embedding model with one vector per text")
