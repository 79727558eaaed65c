"""Tokens with their places are those of the tokenizer itself, also of a text that is too long for the model."""

import pytest

from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess
from texts import sentences
from tiny_tokenizers import build_tokenizer

LIMIT = 16
KINDS = [
    ("wordpiece", "cls_sep", "right"),
    ("roberta", "bos_eos", "right"),
    ("unigram", "bos_eos", "left"),
    ("bytes", "eos", "right"),
]
TEXTS = ["", "the river", "naïve Straße 東京 🙂", " ".join(sentences()[:8])]


@pytest.fixture(scope="module", params=KINDS, ids=[kind[0] for kind in KINDS])
def tokenizers(request, tmp_path_factory):
    """The tokenizer itself without truncation, and ours of the same file, which cuts texts."""
    kind, template, side = request.param
    backend = build_tokenizer(kind, template).backend_tokenizer
    backend.enable_truncation(LIMIT, direction=side)
    folder = tmp_path_factory.mktemp(kind)
    backend.save(str(folder / "tokenizer.json"))
    backend.no_truncation()
    prompts = {"query": "find: "}
    return backend, TextPreprocessor(TextPreprocess(max_tokens=LIMIT, prompts=prompts), folder)


@pytest.mark.parametrize("with_special", [True, False])
@pytest.mark.parametrize("prompt", [None, "find: "])
def test_all_tokens_have_their_places(tokenizers, with_special, prompt):
    backend, ours = tokenizers
    for text in TEXTS:
        given = (prompt or "") + text
        wanted = backend.encode(given, add_special_tokens=with_special)
        placed = ours.place_tokens(text, prompt=prompt, with_special=with_special)
        assert [token.id for token in placed] == wanted.ids
        assert [token.special for token in placed] == [mask == 1 for mask in wanted.special_tokens_mask]
        for token, (start, stop), name in zip(placed, wanted.offsets, wanted.tokens, strict=True):
            if token.special:
                assert (token.text, token.start, token.stop) == (name, None, None)
            else:
                assert (token.text, token.start, token.stop) == (given[start:stop], start, stop)


def test_ids_become_text_again(tokenizers):
    backend, ours = tokenizers
    for text in TEXTS:
        ids = backend.encode(text).ids
        assert ours.decode(ids) == backend.decode(ids)
        assert ours.decode(ids, skip_special_tokens=False) == backend.decode(ids, skip_special_tokens=False)
    assert ours.decode([2**32 - 1]) == ""
