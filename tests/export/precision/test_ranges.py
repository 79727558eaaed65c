"""The sample on which ranges are measured: what a graph is run on."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from ingrain.export.precision.ranges import sample_batches
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess

INPUTS = ["input_ids", "attention_mask"]


def preprocessor(folder: Path, letters: str, max_tokens: int) -> TextPreprocessor:
    """Return one whose tokens are some letters, and that finds nothing in what has none of them."""
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(max_tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextPreprocessor(TextPreprocess(max_tokens=max_tokens, pad_id=9), folder)


def test_the_sample_is_short_texts_and_passages_in_batches_without_padding(tmp_path: Path) -> None:
    counted: list[tuple[int, int]] = []
    made = preprocessor(tmp_path, "abcdefghijklmnopqrstuvwxyz", 256)
    batches = list(sample_batches(made, INPUTS, lambda done, total: counted.append((done, total))))
    assert {tuple(batch) for batch in batches} == {tuple(INPUTS)}
    assert all(batch["attention_mask"].all() for batch in batches)
    lengths = np.concatenate([[batch["input_ids"].shape[1]] * len(batch["input_ids"]) for batch in batches])
    assert len(lengths) == 136
    assert (lengths == 256).sum() == 8  # the passages, cut
    assert lengths.min() < 16
    assert max(len(batch["input_ids"]) for batch in batches) <= 16
    assert counted[0] == (0, 136)
    assert counted == sorted(counted)


def test_what_has_no_tokens_is_left_out(tmp_path: Path) -> None:
    batches = list(sample_batches(preprocessor(tmp_path, "qz", 256), INPUTS, lambda *_: None))
    assert min(batch["input_ids"].shape[1] for batch in batches) == 1
    assert 8 < sum(len(batch["input_ids"]) for batch in batches) < 100
