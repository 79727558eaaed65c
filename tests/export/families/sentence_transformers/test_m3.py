"""Models of BGE-M3's kind: converted in int8, proved again, and refused where a head does not fit the network."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import pytest

from ingrain.errors import UnsupportedModelError
from m3_in_process import damage_head
from tiny_m3 import build_m3

pytestmark = pytest.mark.slow

LIBRARY = "sentence_transformers"


def test_all_outputs_of_an_int8_model_reach_its_floors_and_are_proved_again(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    exporting.submit(build_m3, tmp_path / "models" / "model", half=True).result()
    manifest = exporting.submit(in_process.run, tmp_path, LIBRARY, precision="int8-safe").result()
    assert manifest.tasks == ("embed", "embed_sparse", "embed_multi_vector", "rerank", "embed_tokens")
    (graph,) = manifest.graphs
    assert list(manifest.verification) == list(graph.roles)
    for proof in manifest.verification.values():
        assert proof.mean_cosine >= proof.mean_cosine_floor == 0.995
        assert proof.min_cosine >= proof.min_cosine_floor
    proved = exporting.submit(in_process.publish_and_prove, tmp_path, LIBRARY, tmp_path / "stored").result()
    for role, proof in manifest.verification.items():
        assert proved.verification[role].mean_cosine == pytest.approx(proof.mean_cosine, abs=1e-3)


@pytest.mark.parametrize("damage", ["width", "names", "garbage"])
def test_a_head_that_does_not_fit_the_network_is_refused_by_name(
    exporting: ProcessPoolExecutor, tmp_path: Path, damage: str
) -> None:
    folder = exporting.submit(build_m3, tmp_path / "models" / "model").result()
    exporting.submit(damage_head, folder / "colbert_linear.pt", damage).result()
    with pytest.raises(UnsupportedModelError, match=r"colbert_linear\.pt"):
        exporting.submit(in_process.run, tmp_path, LIBRARY).result()
