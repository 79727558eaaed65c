"""Pairs for models that read chat messages: one text of the template, cut before the template's end."""

import gc
import weakref

import msgspec
import pytest

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.chat_pairs import ChatPairTokenizer, open_pair_tokenizer
from ingrain.preprocess.pairs import PairTokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.text_threads import TextThreads
from ingrain.preprocess.tokenized import collate
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.pair_template import PairTemplate, Slot
from ingrain.tasks.pairs import Pairs, is_short, tokenize_in_slices
from ingrain.tasks.texts import Texts
from tiny_tokenizers import build_tokenizer

LIMIT = 48
END = "\n<|end|>answer:"
TEMPLATE = PairTemplate(
    without_prompt=("<|begin|>", Slot(takes="first"), "\n", Slot(takes="second", strip=True), END),
    with_prompt=(Slot(takes="prompt"), "|", Slot(takes="first"), "\n", Slot(takes="second", strip=True), END),
)
CONFIG = TextPreprocess(
    max_tokens=LIMIT,
    add_special_tokens=False,
    pair_template=TEMPLATE,
    prompts={"web": "find"},
    default_prompt_name="web",
)


@pytest.fixture(scope="module")
def backend():
    return build_tokenizer("bytes", "eos").backend_tokenizer


@pytest.fixture(scope="module")
def open_with(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")

    def open_tokenizer(side: str = "right", **template) -> ChatPairTokenizer:
        backend.enable_truncation(LIMIT, direction=side)
        backend.save(str(folder / "tokenizer.json"))
        backend.no_truncation()
        config = msgspec.structs.replace(CONFIG, pair_template=msgspec.structs.replace(TEMPLATE, **template))
        return open_pair_tokenizer(TextPreprocessor(config, folder))

    return open_tokenizer


def ids_of(tokenizer, pair, **options):
    (item,) = tokenizer.encode([pair], **options)
    return collate([item], tokenizer.text.config, ("input_ids",))["input_ids"][0].tolist(), item.cut_tokens


def test_the_template_chooses_the_tokenizer(open_with):
    tokenizer = open_with()
    assert isinstance(tokenizer, ChatPairTokenizer)
    tokenizer.text.config = msgspec.structs.replace(CONFIG, pair_template=None)
    assert isinstance(open_pair_tokenizer(tokenizer.text), PairTokenizer)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (None, "find|river \nstone\n<|end|>answer:"),
        ("", "<|begin|>river \nstone\n<|end|>answer:"),
        ("see ", "see |river \nstone\n<|end|>answer:"),
    ],
)
def test_ids_are_those_of_the_filled_template(open_with, backend, prompt, text):
    """With no special tokens but the template's, and without the white space that the template strips."""
    wanted = backend.encode(text, add_special_tokens=False).ids
    assert ids_of(open_with(), ("river ", " stone "), prompt=prompt) == (wanted, 0)


@pytest.mark.parametrize("counts_all", [True, False])
@pytest.mark.parametrize("pair", [("river", "stone " * 60), ("river " * 60, "stone"), ("", "x" * 500)])
def test_a_pair_that_is_cut_keeps_the_end_of_the_template(open_with, backend, pair, counts_all):
    ids, cut = ids_of(open_with(), pair, prompt="", counts_all=counts_all)
    uncut = backend.encode(f"<|begin|>{pair[0]}\n{pair[1].strip()}{END}", add_special_tokens=False).ids
    end = backend.encode(END, add_special_tokens=False).ids
    assert len(ids) == LIMIT
    assert ids == [*uncut[: LIMIT - len(end)], *end]
    assert cut == len(uncut) - LIMIT if counts_all else cut > 0


def test_the_end_may_hold_the_prompt_however_long_it_is(open_with, backend):
    parts = (Slot(takes="first"), Slot(takes="second"), " ", Slot(takes="prompt"))
    prompt = "find the stone " * 20
    ids, _ = ids_of(open_with(with_prompt=parts), ("river", "stone"), prompt=prompt)
    assert ids == backend.encode(f" {prompt}", add_special_tokens=False).ids[-LIMIT:]


def test_a_tokenizer_goes_with_its_last_reference(open_with):
    tokenizer = open_with()
    ids_of(tokenizer, ("a " * 100, "b " * 100))
    left = weakref.ref(tokenizer.text)
    gc.disable()
    try:
        del tokenizer
        assert left() is None
    finally:
        gc.enable()


def test_a_template_may_lose_its_end_and_be_cut_on_the_left(open_with, backend):
    pair = ("river", "stone " * 60)
    uncut = backend.encode(f"<|begin|>river\n{pair[1].strip()}{END}", add_special_tokens=False).ids
    assert ids_of(open_with(keeps_end=False), pair, prompt="")[0] == uncut[:LIMIT]
    assert ids_of(open_with("left"), pair, prompt="")[0] == uncut[-LIMIT:]
    assert ids_of(open_with(), pair, prompt="", cut_side="left")[0] == uncut[-LIMIT:]


def test_a_prompt_is_refused_where_the_template_refuses_it(open_with):
    tokenizer = open_with(with_prompt=None)
    assert len(tokenizer.encode([("river", "stone")], prompt="")) == 1
    with pytest.raises(InvalidRequestError, match="no prompt") as caught:
        tokenizer.encode([("river", "stone")], prompt="find")
    assert caught.value.param == "prompt"


class CountingThreads(TextThreads):
    """Remembers the characters of each slice."""

    async def run(self, slices, *, timeout_s):
        self.chars = [chars for _, chars in slices]
        return await super().run(slices, timeout_s=timeout_s)


async def test_a_long_query_is_counted_for_each_of_its_documents(open_with):
    """Each pair is tokenized whole, so that a query with many documents must not become one long slice."""
    tokenizer = open_with()
    query = Texts(texts=["river " * 1_000], param="query", is_list=False)
    pairs = Pairs(firsts=query, seconds=Texts(texts=["stone"] * 40, param="documents"))
    assert not is_short(pairs, None, tokenizer)
    threads = CountingThreads(1)
    items = await tokenize_in_slices(pairs, None, tokenizer, threads, timeout_s=60)
    assert len(items) == 40
    assert threads.chars == [3 * 6_005] * 13 + [6_005]
    short = Pairs(firsts=Texts(texts=["river"]), seconds=pairs.seconds)
    assert not is_short(msgspec.structs.replace(short, seconds=Texts(texts=["stone"] * 20)), "p" * 400, tokenizer)
