"""What callers have their texts and pictures in: each row is that of its item, and what has no meaning is refused."""

import asyncio
from collections import OrderedDict, UserList

import numpy as np
import pyarrow as pa
import pytest

import ingrain
from images import encode, scene
from ingrain.client.collected import Collected
from ingrain.testing.fake_engine import fake_vector
from planes import WIDTH, ids_of

TEXTS = [f"w{n % 100} w{n // 100}" for n in range(150)]
PNG = encode(scene(40, 25), "PNG")


def truth(*given: str) -> np.ndarray:
    rows = np.stack([fake_vector(ids_of(text), WIDTH) for text in given])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Lies:
    """Has another length than it yields, as a sampler of a data set has."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        return iter(TEXTS)


class Frame:
    """What a table of pandas or polars looks like: as long as its rows, and a walk leads over its columns."""

    columns = ("text",)
    shape = (150, 1)

    def __len__(self) -> int:
        return 150

    def __iter__(self):
        return iter(self.columns)


class NAType:
    """pandas.NA: neither equal nor unequal to anything."""

    def __ne__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __eq__ = __ne__
    __hash__ = None


@pytest.mark.parametrize("as_numpy", [True, False])
async def test_rows_are_counted_and_lengths_not_believed(connect, as_numpy):
    """What says that it has more or fewer texts gets a row for each that came, and no memory that nobody wrote."""
    api = connect(batch_size=10)
    for length in (0, 1, 64, 149, 151, 3000):
        answer = await api.embed_text("org/model", Lies(length), return_numpy=as_numpy)
        np.testing.assert_allclose(answer.embeddings, truth(*TEXTS), atol=1e-6)


COLUMNS = [
    tuple,
    UserList,
    iter,
    np.array,
    lambda texts: np.array(texts, object),
    pa.array,
    lambda texts: pa.chunked_array([texts[:70], texts[70:]]),
    lambda texts: pa.array(texts).dictionary_encode(),
    lambda texts: dict.fromkeys(texts).keys(),
    lambda texts: dict(enumerate(texts)).values(),
    lambda texts: (text for text in texts),
]


async def test_every_column_of_texts_is_one(connect):
    api = connect(return_numpy=True)
    for make in COLUMNS:
        answer = await api.embed_text("org/model", make(TEXTS))
        np.testing.assert_allclose(answer.embeddings, truth(*TEXTS), atol=1e-6)


REFUSED = [
    (Frame(), 'table["text"]'),
    (pa.table({"text": TEXTS}), 'table["text"]'),
    ({"text": TEXTS}, "list(text.values())"),
    (OrderedDict(a="b"), "list(text.values())"),
    ({"red", "green"}, "sorted(text)"),
    (frozenset({"red"}), "sorted(text)"),
    (b"red", "text.decode()"),
    (np.array([["red"], ["green"]]), "2 dimensions"),
    (np.array("red"), "0 dimensions"),
    (7, "a list of them"),
    (None, "a list of them"),
]


async def test_what_is_no_row_of_texts_or_pictures_is_refused_before_anything_is_sent(api, tap):
    for given, advice in REFUSED:
        for call in (api.embed_text("org/model", given), anext(api.stream("stream_text", "org/model", given))):
            with pytest.raises(ingrain.InvalidRequestError) as raised:
                await call
            assert advice in raised.value.message
            assert raised.value.param == "text"
    for given in (Frame(), {"a": PNG}, {PNG}, 7):
        with pytest.raises(ingrain.ImageError) as raised:
            await api.embed_image("clip", given)
        assert raised.value.param == "image"
    assert not tap.sent


async def test_an_item_that_is_no_text_is_named(connect):
    api = connect(batch_size=10)
    for item in (["red"], ("red",), 7, 1.5, b"red", {"text": "red"}, [3, 4]):
        with pytest.raises(ingrain.InvalidRequestError, match="not a text") as raised:
            await api.embed_text("org/model", [*TEXTS[:33], item])
        assert raised.value.param == "text[33]"


MISSING = [None, float("nan"), np.float64("nan"), np.float32("nan"), NAType()]


async def test_a_missing_text_is_named_or_left_out(connect):
    """Rows of what is there, and which they are; an error names the item by its place in the caller's column."""
    api = connect(batch_size=4, return_numpy=True)
    for item in MISSING:
        column = [item, *TEXTS[:5], item, item, *TEXTS[5:12], item]
        with pytest.raises(ingrain.InvalidRequestError, match="skip_none=True") as raised:
            await api.embed_text("org/model", column)
        assert raised.value.param == "text[0]"
        answer = await api.embed_text("org/model", column, skip_none=True)
        np.testing.assert_allclose(answer.embeddings, truth(*TEXTS[:12]), atol=1e-6)
        assert answer.positions == [1, 2, 3, 4, 5, *range(8, 15)]
        parts = [part async for part in api.stream("stream_text", "org/model", column, skip_none=True)]
        assert [place for part in parts for place in part.positions] == answer.positions
        column[9] = "poison\ud800"
        with pytest.raises(ingrain.InvalidRequestError) as raised:
            await api.embed_text("org/model", column, skip_none=True)
        assert raised.value.param == "text[9]"


async def test_errors_of_the_server_name_the_place_in_the_column(connect):
    """The third text of the second request is the eleventh of the column."""
    api = connect(batch_size=4)
    column = [None, *TEXTS[:4], None, None, "w1", "w2", None, "w1 " * 99]
    with pytest.raises(ingrain.TextTooLongError, match=r"text\[10\]") as raised:
        await api.embed_text("org/model", column, skip_none=True, truncate=False)
    assert raised.value.param == "text[10]"


async def test_missing_texts_and_pictures_of_one_call(connect):
    api = connect()
    both = await api.embed("clip", ["red", None], [None, PNG, PNG], skip_none=True)
    assert (both.text_positions, both.image_positions) == ([0], [1, 2])
    assert (len(both.text_embeddings), len(both.image_embeddings)) == (1, 2)
    with pytest.raises(ingrain.ImageError, match=r"image\[0\] is missing"):
        await api.embed_image("clip", [None, PNG])
    assert (await api.embed_text("org/model", "red")).positions is None


async def test_a_column_of_arrow_with_nulls(connect):
    answer = await connect().embed_text("org/model", pa.array(["red", None, "green"]), skip_none=True)
    np.testing.assert_allclose(answer.embeddings, truth("red", "green"), atol=1e-6)
    assert answer.positions == [0, 2]


async def test_nothing_in_is_nothing_out_and_nothing_is_asked(connect, tap):
    """An empty list, an empty generator, a column of nothing but None."""
    api = connect()
    for given, options in (([], {}), (iter([]), {}), ([None, None], {"skip_none": True})):
        nothing = await api.embed_text("org/model", given, **options)
        assert nothing.embeddings == []
        assert nothing.numpy().shape == (0, 0)
    array = (await api.embed_text("org/model", [], return_numpy=True, output_dtype="binary")).embeddings
    assert (array.shape, array.dtype) == ((0, 0), np.int8)
    assert (await api.embed_image("clip", np.zeros((0, 4, 4, 3), np.uint8), return_numpy=True)).numpy().shape == (0, 0)
    assert (await api.classify_image("net", [])).probabilities == []
    assert [part async for part in api.stream("stream_text", "org/model", [])] == []
    assert not tap.sent
    both = await api.embed("clip", [], [PNG])
    assert both.text_embeddings == []
    assert len(both.image_embeddings) == 1


def test_no_row_is_lost_whatever_length_was_told():
    """Parts are of any size, the last one smaller and the first too, where texts are long."""
    vectors = np.arange(44, dtype=np.float32).reshape(22, 2)
    for expected in (None, *range(45)):
        rows = Collected(expected)
        for part in np.split(vectors, (7, 19)):
            rows.add(part)
        np.testing.assert_array_equal(rows.all(), vectors, err_msg=f"{expected} were told")


def test_vectors_of_two_widths_are_never_put_together():
    """A model that is replaced in the middle of a call is an error, neither one of numpy's nor ragged lists."""
    rows = Collected(40)
    rows.add(np.zeros((10, 8), np.float32))
    for other in (np.zeros((10, 4), np.float32), np.zeros((10, 8), np.int8), [[0.0] * 8]):
        with pytest.raises(ingrain.UnexpectedAnswerError, match="width"):
            rows.add(other)


@pytest.mark.both_clients
async def test_a_single_text_is_one_text_when_it_is_streamed(api):
    parts = [part async for part in api.stream("stream_text", "org/model", "red")]
    assert sum(len(part.embeddings) for part in parts) == 1


@pytest.mark.both_clients
async def test_an_asynchronous_generator_streams_with_bounded_look_ahead(kind, connect):
    """Answers come while the generator is waited for; no more is taken than has room."""
    api = connect(batch_size=5, concurrency=2, return_numpy=True)
    taken, gate = 0, asyncio.Event()

    async def generate():
        nonlocal taken
        for text in TEXTS:
            taken += 1
            if taken == 16:
                await gate.wait()
            yield text

    if kind == "sync":
        with pytest.raises(ingrain.InvalidRequestError, match="AsyncClient"):
            await api.embed_text("org/model", generate())
        return
    rows = []
    async for part in api.client.stream_text("org/model", generate()):
        rows.append(part.embeddings)
        if len(rows) == 3:
            assert taken == 16  # the first three requests are answered though the generator gives nothing
            gate.set()
        assert taken <= 5 * (len(rows) + 2 * 4 + 2)
    np.testing.assert_allclose(np.concatenate(rows), truth(*TEXTS), atol=1e-6)
    whole = await api.client.embed_text("org/model", generate())
    np.testing.assert_allclose(whole.embeddings, truth(*TEXTS), atol=1e-6)
    one = await api.client.embed("clip", generate(), [PNG])
    assert (len(one.text_embeddings), len(one.image_embeddings)) == (150, 1)


@pytest.mark.both_clients
async def test_what_an_asynchronous_generator_raises_ends_the_call(connect, kind):
    async def generate():
        for text in TEXTS[:70]:
            yield text
        raise LookupError("no more")

    if kind == "async":
        with pytest.raises(LookupError, match="no more"):
            await connect(batch_size=5).client.embed_text("org/model", generate())
