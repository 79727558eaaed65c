"""The most used repositories of the hub, as small folders with the files that they have there."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import formulations_in_process as in_process
import numpy as np
import pytest

from popular_models import POPULAR
from popular_tokenizers import TOKENIZERS


def test_sixty_repositories_are_in_the_table_and_at_most_five_stand_there_as_refused() -> None:
    assert len(POPULAR) == 60
    assert sum(row.refused for row in POPULAR.values()) <= 5
    assert {row.tokenizer for row in POPULAR.values()} <= set(TOKENIZERS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "sentence-transformers/LaBSE",
        "Qwen/Qwen3-Embedding-0.6B",
        "google/embeddinggemma-300m",
    ],
)
def test_a_popular_repository_gives_the_vectors_of_its_source(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str
) -> None:
    """A BERT with XLM-RoBERTa's tokenizer, Dense with tanh, the last token after left padding, windows."""
    ours, theirs = exporting.submit(in_process.export_popular, name, tmp_path).result()
    np.testing.assert_allclose(np.stack(ours), theirs, atol=2e-4, rtol=1e-4)
