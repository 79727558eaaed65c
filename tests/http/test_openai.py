"""OpenAI's dialect, spoken by OpenAI's own client: the same vectors, real usage, its error classes, its retries."""

import asyncio
import base64

import numpy as np
import openai
import pytest

from images import encode, scene
from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, ids_of, running_planes

MODEL = "org/model"
PICTURE = base64.b64encode(encode(scene(20, 12), "PNG")).decode()


@pytest.fixture
async def client(planes):
    async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
        yield client


def unit(vector):
    return vector / np.linalg.norm(vector)


def truth(text):
    return unit(fake_vector(ids_of(text), WIDTH))


def vectors(answer):
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data], np.float32)


@pytest.mark.usefixtures("way")
async def test_the_default_of_the_client_is_base64_and_gives_the_vectors(client, planes):
    texts = ["red", "green blue", "", "w1 w2 w3"]
    answer = await client.embeddings.create(model=MODEL, input=texts)
    np.testing.assert_allclose(vectors(answer), [truth(text) for text in texts], atol=1e-6)
    assert (answer.object, answer.model, answer.data[0].object) == ("list", MODEL, "embedding")
    raw = (await planes.inference.post("/v1/embeddings", json={"model": MODEL, "input": texts})).json()
    assert isinstance(raw["data"][0]["embedding"], list), "without a word about it OpenAI's API answers numbers"


async def test_base64_is_float32_little_endian(planes):
    body = {"model": MODEL, "input": "red", "encoding_format": "base64"}
    (item,) = (await planes.inference.post("/v1/embeddings", json=body)).json()["data"]
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(item["embedding"]), "<f4"), truth("red").astype(np.float32)
    )


async def test_the_sync_client_gets_the_same(planes):
    def embed():
        with openai.OpenAI(base_url=planes.openai_url, api_key="any") as client:
            return client.embeddings.create(model=MODEL, input="red", encoding_format="float")

    np.testing.assert_allclose(vectors(await asyncio.to_thread(embed)), [truth("red")], atol=1e-6)


async def test_dimensions_are_cut_first_and_normalized_then(client):
    answer = await client.embeddings.create(model=MODEL, input="red", dimensions=3)
    np.testing.assert_allclose(vectors(answer), [unit(fake_vector(ids_of("red"), WIDTH)[:3])], atol=1e-6)


@pytest.mark.usefixtures("way")
async def test_usage_counts_the_tokens_that_were_computed(client):
    """Special tokens count, padding does not, and a cut text counts as what is left of it."""
    texts = ["red", "green blue", " ".join(["red"] * 100)]
    answer = await client.embeddings.create(model=MODEL, input=texts)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3 + 4 + MAX_TOKENS


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [4, -1]}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": ["red", 4]}, "input[1]"),
        ({"input": ["red", None]}, "input[1]"),
        ({"input": {"text": "red"}}, "input"),
        ({"input": "red", "dimensions": WIDTH + 1}, "dimensions"),
        ({"input": "red", "dimensions": 0}, "dimensions"),
        ({"input": "red", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "red", "extra_body": {"prompt_name": "absent"}}, "prompt_name"),
        ({"input": "red", "extra_body": {"output_dtype": "int8"}}, "output_dtype"),
        ({"input": "red", "extra_body": {"modality": "image"}}, "input"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_a_bad_request_error_that_names_the_field(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model=MODEL, **fields)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


async def test_a_model_that_is_not_loaded_is_a_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="text-embedding-3-small", input="red")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("text-embedding-3-small")
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model=MODEL, messages=[])


async def test_wrong_and_missing_keys_are_authentication_errors(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good:infer+models", "other:metrics"))) as planes:
        planes.model.headers["authorization"] = "Bearer good"
        await planes.load()
        for key, error in (("bad", openai.AuthenticationError), ("other", openai.PermissionDeniedError)):
            async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key=key, max_retries=0) as client:
                with pytest.raises(error):
                    await client.embeddings.create(model=MODEL, input="red")
                with pytest.raises(error):
                    await client.models.list()
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="good") as client:
            assert len((await client.embeddings.create(model=MODEL, input="red")).data) == 1


@pytest.mark.usefixtures("way")
async def test_a_full_queue_is_a_rate_limit_error_and_the_client_tries_again_by_itself(tmp_path):
    """Without retries some callers are refused; with the client's own every one is served in the end."""
    texts = [f"w{number}" for number in range(30)]
    async with running_planes(tmp_path, Settings(max_queue_tokens=20)) as planes:
        await planes.load()
        planes.engine.latency_s = 0.25
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
            calls = [client.embeddings.create(model=MODEL, input=text) for text in texts]
            refused = [e for e in await asyncio.gather(*calls, return_exceptions=True) if isinstance(e, Exception)]
        assert {type(error) for error in refused} == {openai.RateLimitError}
        assert refused[0].code == "rate_limit_exceeded"
        assert int(refused[0].response.headers["retry-after"]) >= 1
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=10) as client:
            create = client.embeddings.with_raw_response.create
            answers = await asyncio.gather(*(create(model=MODEL, input=text) for text in texts))
        assert max(answer.retries_taken for answer in answers) >= 1
        for text, answer in zip(texts, answers, strict=True):
            np.testing.assert_allclose(vectors(answer.parse()), [truth(text)], atol=1e-6)


async def test_the_number_of_items_is_limited_by_a_setting_of_its_own(tmp_path):
    async with running_planes(tmp_path, Settings(openai_max_items=3)) as planes:
        await planes.load()
        async with openai.AsyncOpenAI(base_url=planes.openai_url, api_key="any", max_retries=0) as client:
            assert len((await client.embeddings.create(model=MODEL, input=["red"] * 3)).data) == 3
            for given in (["red"] * 4, [[4]] * 4):
                with pytest.raises(openai.APIStatusError, match="INGRAIN_OPENAI_MAX_ITEMS") as caught:
                    await client.embeddings.create(model=MODEL, input=given)
                assert caught.value.status_code == 413
                assert caught.value.body["limit"] == 3
            # A list of four ids is one text.
            assert len((await client.embeddings.create(model=MODEL, input=[4, 4, 4, 4])).data) == 1


def test_the_limit_is_openais_unless_said_otherwise():
    assert Settings().openai_max_items == 2048


async def test_unknown_fields_are_ignored_and_ingrains_own_are_taken_in_both_spellings(client, planes):
    planes.export.text = TextPreprocess(max_tokens=MAX_TOKENS, prompts={"query": "green "})
    await planes.load("org/prompted")
    for extra in ({"input_type": "query"}, {"inputType": "query"}, {"promptName": "query"}, {"prompt": "green "}):
        answer = await client.embeddings.create(
            model="org/prompted", input="red", user="somebody", extra_body={**extra, "truncation_strategy": 5}
        )
        np.testing.assert_allclose(vectors(answer), [truth("green red")], atol=1e-6)
    with pytest.raises(openai.BadRequestError, match="twice"):
        await client.embeddings.create(
            model="org/prompted", input="red", extra_body={"inputType": "query", "input_type": "query"}
        )


@pytest.mark.usefixtures("way")
async def test_truncate_false_refuses_with_index_length_and_limit(client):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(
            model=MODEL, input=["red", " ".join(["red"] * 100)], extra_body={"truncate": False}
        )
    assert caught.value.code == "context_length_exceeded"
    facts = {name: caught.value.body[name] for name in ("index", "tokens", "limit")}
    assert facts == {"index": 1, "tokens": 102, "limit": MAX_TOKENS}


async def test_models_are_listed_with_their_prompts(client, planes):
    planes.export.text = TextPreprocess(
        max_tokens=MAX_TOKENS, prompts={"query": "green ", "passage": ""}, default_prompt_name="query"
    )
    await planes.load("org/prompted")
    await planes.load("clip", "open_clip")
    listed = {model.id: model async for model in client.models.list()}
    assert set(listed) == {MODEL, "org/prompted", "clip"}
    assert listed["org/prompted"].prompts == {"query": "green ", "document": "", "passage": ""}
    assert listed["org/prompted"].default_prompt_name == "query"
    assert listed["clip"].modalities == ["text", "image"]
    one = await client.models.retrieve("org/prompted")
    assert one == listed["org/prompted"]
    assert (one.object, one.owned_by, one.dimensions) == ("model", "sentence_transformers", WIDTH)
    assert (one.task, one.labels) == ("embed", [])
    assert one.created == 1795305600


async def test_what_is_not_loaded_is_not_listed(client, planes):
    await planes.model.post("/unload_model", json={"name": MODEL})
    assert [model.id async for model in client.models.list()] == []


async def test_pictures_among_texts_keep_their_places(client, planes):
    """Data URIs go to the image tower of a model that has one; order is that of the input."""
    await planes.load("clip", "open_clip")
    picture = f"data:image/png;base64,{PICTURE}"
    answer = await client.embeddings.create(model="clip", input=["red", picture, "green", picture])
    native = await planes.inference.post("/embed_image", json={"name": "clip", "image": picture})
    seen = native.json()["embeddings"][0]
    np.testing.assert_allclose(vectors(answer), [truth("red"), seen, truth("green"), seen], atol=1e-6)
    assert answer.usage.prompt_tokens == 6, "pictures have no tokens"
    for spaces in ("", " " * 57, "\n" * 5000):
        alone = await client.embeddings.create(model="clip", input=spaces + picture)
        np.testing.assert_allclose(vectors(alone), [seen], atol=1e-6)


async def test_the_same_string_is_text_to_a_model_without_an_image_tower(client):
    answer = await client.embeddings.create(model=MODEL, input="https://example.org/red.png")
    np.testing.assert_allclose(vectors(answer), [truth("https://example.org/red.png")], atol=1e-6)


async def test_a_picture_is_no_text_for_a_model_without_an_image_tower(client):
    """A vector of its base64 would pass as one of the picture; who wants it says `modality: "text"`."""
    picture = f"data:image/png;base64,{PICTURE[:400]}"
    for given, param in (
        (picture, "input"),
        (["red", picture], "input[1]"),
        ([picture.replace("data", "DATA")], "input[0]"),
        (" " * 57 + picture, "input"),
        (["\n" * 5000 + picture], "input[0]"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model=MODEL, input=given)
        assert (caught.value.param, caught.value.code) == (param, "invalid_request")
    answer = await client.embeddings.create(model=MODEL, input=picture, extra_body={"modality": "text"})
    assert (
        answer.data[0].embedding
        == (await client.embeddings.create(model=MODEL, input=[picture], extra_body={"modality": "text"}))
        .data[0]
        .embedding
    )


async def test_modality_says_what_looks_do_not(client, planes):
    await planes.load("clip", "open_clip")
    url = "https://example.org/red.png"
    answer = await client.embeddings.create(model="clip", input=url, extra_body={"modality": "text"})
    np.testing.assert_allclose(vectors(answer), [truth(url)], atol=1e-6)
    answer = await client.embeddings.create(model="clip", input=[PICTURE], extra_body={"modality": "image"})
    assert vectors(answer).shape == (1, WIDTH)


async def test_errors_of_pictures_name_the_item_of_the_input(client, planes):
    await planes.load("clip", "open_clip")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="clip", input=["red", "green", "data:image/png;base64,AAAA"])
    assert caught.value.param == "input[2]"


async def test_output_types_come_as_whole_numbers_whatever_the_client_asks_for(client, planes):
    """The client asks for base64 by itself and would take int8 for float32."""
    for kind in ("binary", "ubinary"):
        answer = await client.embeddings.create(model=MODEL, input=["red", "blue"], extra_body={"output_dtype": kind})
        bits = np.packbits(np.array([truth("red"), truth("blue")]) > 0, axis=1).astype(int)
        assert [item.embedding for item in answer.data] == (bits - 128 * (kind == "binary")).tolist()


async def test_native_routes_keep_their_own_errors(planes):
    answer = await planes.embed("red", name="absent")
    assert set(answer.json()) == {"message", "error"}
    unknown = await planes.inference.get("/v1/absent")
    assert (unknown.status_code, set(unknown.json())) == (404, {"error", "detail"})
    assert (await planes.inference.post("/v1/models/org/model")).status_code == 405
