"""Requests of many long texts: in time, in turns, given up with their client; a failing tokenizer fails its text."""

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

import planes as module
from ingrain.preprocess.text import TextPreprocessor
from ingrain.settings import Settings
from planes import running_planes

LONG = "w1 w2 w3 " * 22_000
MANY = 60


@asynccontextmanager
async def planes_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splitter, **settings):
    """Run planes whose model splits its texts in another way."""

    def write(path: Path) -> None:
        write_tokenizer(path)
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.pre_tokenizer = splitter
        tokenizer.save(str(path))

    write_tokenizer = module.write_tokenizer
    monkeypatch.setattr(module, "write_tokenizer", write)
    async with running_planes(tmp_path, Settings(**settings)) as planes:
        await planes.load()
        yield planes


def words_of_any_length() -> pre_tokenizers.PreTokenizer:
    """Split like the models' usual splitter, but by an expression that nothing is known of."""
    return pre_tokenizers.Split(Regex("[ ]"), "removed")


def slowly(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have each text take a moment to tokenize, and note the texts."""
    seen, encode = [], TextPreprocessor._encode

    def slow(self, texts, **options):
        seen.extend(texts)
        time.sleep(0.05 * len(texts))
        return encode(self, texts, **options)

    monkeypatch.setattr(TextPreprocessor, "_encode", slow)
    return seen


async def test_of_a_text_far_too_long_only_the_start_is_tokenized(planes, monkeypatch):
    seen = slowly(monkeypatch)
    answer = await planes.embed([LONG] * 10, tokenCounts=True)
    assert answer.status_code == 200
    assert answer.json()["tokenCounts"] == [module.MAX_TOKENS] * 10
    assert answer.json()["truncated"] == [True] * 10
    assert sum(map(len, seen)) < 10_000
    assert answer.json()["embeddings"][0] == (await planes.embed(LONG)).json()["embeddings"][0]


async def test_a_refused_text_has_all_its_tokens_counted(planes):
    answer = await planes.embed(["w1", LONG], truncate=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "text[1]"
    assert answer.json()["error"]["tokens"] == 66_000 + 2


@pytest.mark.parametrize("field", [{}, {"truncate": False}])
async def test_tokenizing_ends_with_the_deadline(tmp_path, monkeypatch, field):
    async with planes_with(tmp_path, monkeypatch, words_of_any_length(), request_timeout_s=0.5) as planes:
        seen = slowly(monkeypatch)
        texts = ["w1 " * 6_000] * MANY if not field else ["w1" + "  " * 8_000] * MANY
        answer = await planes.embed(texts, **field)
        assert answer.status_code == 504
        await asyncio.sleep(0.3)  # what had begun
        begun = len(seen)
        await asyncio.sleep(0.3)
        assert len(seen) == begun < MANY


async def test_tokenizing_ends_when_the_client_goes_away(tmp_path, monkeypatch):
    async with planes_with(tmp_path, monkeypatch, words_of_any_length()) as planes:
        seen = slowly(monkeypatch)
        with pytest.raises(httpx.ReadTimeout):
            await planes.inference.post(
                "/embed_text", json={"name": "org/model", "text": ["w1 " * 6_000] * MANY}, timeout=0.3
            )
        await asyncio.sleep(0.3)
        begun = len(seen)
        await asyncio.sleep(0.3)
        assert len(seen) == begun < MANY


async def test_a_long_text_waits_for_a_slice_of_a_large_request_and_not_for_all(tmp_path, monkeypatch):
    async with planes_with(tmp_path, monkeypatch, words_of_any_length()) as planes:
        slowly(monkeypatch)
        large = asyncio.create_task(planes.embed(["w1 " * 6_000] * MANY))
        await asyncio.sleep(0.1)
        assert (await planes.embed("w2 " * 2_000)).status_code == 200
        assert not large.done()
        assert (await large).status_code == 200


async def test_a_tokenizer_that_panics_fails_the_text_and_not_the_server(tmp_path, monkeypatch):
    """In the event loop, for a short text, and in a thread."""
    async with planes_with(tmp_path, monkeypatch, pre_tokenizers.Split(Regex("(a+)+b"), "isolated")) as planes:
        for bad in ("a" * 1_000, "a" * 10_000):
            answer = await planes.embed(["w1", bad, "w2"])
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "tokenizer_failed"
            assert answer.json()["error"]["param"] == "text[1]"
        assert (await planes.embed(["w1", "w2"])).status_code == 200
