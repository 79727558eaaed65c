"""The serving tokenizers give OpenCLIP's ids."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["CLIP, ViT", "SigLIP", "CLIPA", "RoBERTa", "NLLB, not square, longest side"])
def test_ids_equal_openclip_s_on_five_thousand_texts(exporting: ProcessPoolExecutor, tmp_path: Path, name: str) -> None:
    """CLIP's own tokenizer, and Hugging Face tokenizers with each way of cleaning and the separator left out."""
    count, different = exporting.submit(in_process.tokenizer_differences, name, tmp_path).result()
    assert count >= 5000
    assert different == []
