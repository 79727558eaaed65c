"""Which graph is published for a GPU: the fused one where it is proved and faster, else the one that was proved before.

The sessions are real ones on the CPU, and what the GPU would take is told.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import export_in_process as in_process
import onnx
import pytest

from ingrain.errors import ExportError, VerificationError
from ingrain.export.onnx import onnx_file
from ingrain.export.precision import on_gpu
from ingrain.export.proof.deviation import Floors
from ingrain.repository.verification import Verification

pytestmark = pytest.mark.slow

PROOF = Verification(max_abs_diff=0.0, min_cosine=1.0, padding_diff=0.0, cases=1, tokenizer_cases=1, tolerance=1e-4)
SLOW, FAST = (2.0, 2.0, 2.0), (1.0, 1.0, 1.0)


@pytest.fixture
def path(exported_with_weights_outside: Callable[[str], in_process.Exported], tmp_path: Path) -> Path:
    """A copy of a small BERT's graph, its weights beside it."""
    done = exported_with_weights_outside("BERT")
    shutil.copytree(done.output / done.manifest.graphs[0].name / "1", tmp_path / "1")
    return tmp_path / "1" / "model.onnx"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[float, ...] | Exception]:
    """What the GPU takes for a graph that is fused, and for one that is not."""
    told: dict[str, tuple[float, ...] | Exception] = {"plain": SLOW, "fused": FAST}
    opened = onnx_file.open_session

    def open_session(file: Path, threads: int = 0, *, precision: str = "fp32", on_gpu: bool = False) -> object:
        # On a CPU there are no kernels for fused operators in half precision.
        session = None if precision == "fp16" else opened(file, threads)
        return session, "fused" if is_fused(file) else "plain"

    def find(session: tuple[object, str]) -> tuple[float, ...]:
        found = told[session[1]]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(on_gpu, "open_session", open_session)
    monkeypatch.setattr(on_gpu, "_times", find)
    return told


def prove(session: object, floors: Floors | None = None) -> Verification:
    del session, floors
    return PROOF


def is_fused(path: Path) -> bool:
    return any(node.domain == "com.microsoft" for node in onnx.load(str(path), load_external_data=False).graph.node)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_the_fused_graph_is_published_where_it_is_faster(path: Path, times: dict) -> None:
    """With its weights beside it, under the names that the plain one had; nothing else is left."""
    onnx_file.EXTERNAL_DATA_BYTES, limit = 0, onnx_file.EXTERNAL_DATA_BYTES
    try:
        assert on_gpu.choose_on_gpu(path, "fp32", prove, None, what="The model") == PROOF
    finally:
        onnx_file.EXTERNAL_DATA_BYTES = limit
    assert is_fused(path)
    assert set(files(path)) == {"model.onnx", "model.onnx.data"}
    onnx_file.open_session(path)


@pytest.mark.parametrize(
    "fused",
    [SLOW, (1.0, 1.0, 2.2), (), RuntimeError("out of memory")],
    ids=["as slow", "slower with new shapes", "not measured", "failed"],
)
def test_the_plain_one_stays_where_the_fused_one_is_no_better(path: Path, times: dict, fused: object) -> None:
    before = files(path)
    times["fused"] = fused
    assert on_gpu.choose_on_gpu(path, "fp32", prove, None, what="The model") == PROOF
    assert files(path) == before


def test_a_fused_graph_that_is_not_proved_is_not_published(path: Path, times: dict) -> None:
    before = files(path)

    def refuse(session: tuple[object, str] | object, floors: Floors | None = None) -> Verification:
        if isinstance(session, tuple) and session[1] == "fused":
            raise VerificationError("it differs")
        return PROOF

    on_gpu.choose_on_gpu(path, "fp32", refuse, None, what="The model")
    assert files(path) == before


@pytest.mark.parametrize("faster", ["plain", "fused"])
def test_in_half_precision_either_graph_is_half_as_large(path: Path, times: dict, faster: str) -> None:
    size = sum(map(len, files(path).values()))
    times["fused"], times["plain"] = (FAST, SLOW) if faster == "fused" else (SLOW, FAST)
    floors = Floors(mean_cosine=0.9999, min_cosine=0.999, own_cosine=0.9999)
    on_gpu.choose_on_gpu(path, "fp16", prove, floors, what="The model")
    assert is_fused(path) == (faster == "fused")
    assert set(files(path)) == {"model.onnx"}
    assert sum(map(len, files(path).values())) < 0.7 * size


def test_a_gpu_that_cannot_be_used_is_the_operators_matter(path: Path) -> None:
    """Not the model's: the message says what to install, and the load is tried again."""
    with pytest.raises(ExportError, match="onnxruntime-gpu") as caught:
        onnx_file.open_session(path, on_gpu=True)
    assert str(path.parent) not in str(caught.value)
