"""Networks that an exporter cannot follow as they are written, computed in another way that is the same."""

from concurrent.futures import ProcessPoolExecutor

import formulations_in_process as in_process
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", ["Mixtral", "Qwen2 MoE", "GPT-OSS"])
def test_all_experts_weighted_are_the_experts_that_were_chosen(exporting: ProcessPoolExecutor, family: str) -> None:
    """Gated, with a shared expert beside them, with biases and transposed matrices."""
    layers, difference = exporting.submit(in_process.difference_of_all_experts, family).result()
    assert layers == 2
    assert difference < 1e-5


def test_nomics_experts_whose_code_comes_with_the_model_are_replaced_likewise(exporting: ProcessPoolExecutor) -> None:
    assert exporting.submit(in_process.difference_of_nomic_experts).result() < 1e-5


def test_longformers_chunks_are_a_band_of_dense_attention(exporting: ProcessPoolExecutor) -> None:
    """Of lengths around its window's multiples, with padding."""
    assert exporting.submit(in_process.difference_of_longformer).result() < 1e-5


def test_tokens_that_see_no_other_get_what_the_library_gives_them(exporting):
    """As those of a query's expansion do, further from the text than local attention sees."""
    ours, plain = exporting.submit(in_process.differences_of_tokens_that_see_none).result()
    assert ours < 1e-5 < plain


@pytest.mark.parametrize("kind", ["CrossEncoder", "MultiVectorEncoder", "SparseEncoder"])
def test_a_kernel_of_gpus_is_replaced_where_the_model_is_loaded(exporting, tmp_path, kind):
    assert exporting.submit(in_process.attention_of, kind, tmp_path / "model").result() == "sdpa"
