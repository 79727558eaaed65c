"""Fields that clients of neighbouring APIs send to /v1/embeddings: what changes a vector is honoured or refused."""

import base64
import json

import numpy as np
import pytest

from ingrain.postprocess.quantize import quantize
from ingrain.repository.manifest import TextPreprocess
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, ids_of

MODEL, PROMPTED = "org/model", "org/prompted"
PROMPTS = {"query": "green ", "passage": "blue ", "Clustering": "w1 ", "retrieval.query": "w2 "}
LONG = " ".join(f"w{number}" for number in range(60))


def raw_truth(text):
    return fake_vector(ids_of(text), WIDTH)


def truth(text):
    return raw_truth(text) / np.linalg.norm(raw_truth(text))


@pytest.fixture
async def embed(planes):
    """Embed "red" and return the answer; ``input`` or ``model`` may be others."""
    planes.export.text = TextPreprocess(max_tokens=MAX_TOKENS, prompts=PROMPTS)
    await planes.load(PROMPTED)

    async def embed(**fields):
        return await planes.inference.post("/v1/embeddings", json={"model": MODEL, "input": "red", **fields})

    return embed


def vector(answer):
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["data"][0]["embedding"])


def refusal(answer):
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize(
    "field",
    ["output_dimension", "outputDimension", "output_dimensions", "output_dimensionality", "truncate_dim", "nDims"],
)
async def test_every_word_for_dimensions_cuts_the_vector(embed, field):
    short = raw_truth("red")[:3]
    np.testing.assert_allclose(vector(await embed(**{field: 3})), short / np.linalg.norm(short), atol=1e-6)
    np.testing.assert_allclose(
        vector(await embed(**{field: 3, "dimensions": 3})), short / np.linalg.norm(short), atol=1e-6
    )
    error = refusal(await embed(**{field: 3, "dimensions": 4}))
    assert "dimensions (4)" in error["message"]
    assert refusal(await embed(**{field: WIDTH + 1}))["limit"] == WIDTH
    np.testing.assert_allclose(vector(await embed(**{field: None})), truth("red"), atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [{"normalized": False}, {"normalize_embeddings": False}, {"useActivation": False}, {"embd_normalize": -1}],
    ids=str,
)
async def test_every_word_for_normalize_leaves_the_models_own_vector(embed, fields):
    np.testing.assert_allclose(vector(await embed(**fields)), raw_truth("red"), atol=1e-6)
    assert "normalize (true)" in refusal(await embed(**fields, normalize=True))["message"]
    assert refusal(await embed(embd_normalize=1))["param"] == "embd_normalize"


@pytest.mark.parametrize(
    ("field", "in_a_list"),
    [
        ("embedding_type", False),
        ("embedding_type", True),
        ("embedding_types", False),
        ("embeddingTypes", True),
        ("encoding_type", False),
        ("encodingType", True),
        ("output_dtype", False),
    ],
)
async def test_every_word_for_the_type_of_the_numbers_is_taken(embed, field, in_a_list):
    def given(kind):
        return {field: [kind] if in_a_list else kind}

    bits = quantize(np.array([truth("red")], np.float32), "ubinary", None)[0]
    np.testing.assert_array_equal(vector(await embed(**given("ubinary"))), bits)
    np.testing.assert_allclose(vector(await embed(**given("float"))), truth("red"), atol=1e-6)
    allowed = "float, int8, uint8," if field == "output_dtype" else "float, base64, int8, uint8,"
    assert refusal(await embed(**given("int4")))["message"].endswith(f". Allowed: {allowed} binary, ubinary.")
    if field != "output_dtype":
        answer = await embed(**given("base64"))
        numbers = np.frombuffer(base64.b64decode(answer.json()["data"][0]["embedding"]), "<f4")
        np.testing.assert_allclose(numbers, truth("red"), atol=1e-6)
        assert "base64" in refusal(await embed(**given("base64"), encoding_format="float"))["message"]
        assert "'float'" in refusal(await embed(**given("binary"), output_dtype="float"))["message"]


@pytest.mark.parametrize("field", ["embedding_type", "embedding_types", "encoding_type", "encoding_format"])
async def test_several_types_at_once_are_an_object(embed, field):
    item = (await embed(**{field: ["float", "base64", "ubinary"]})).json()["data"][0]["embedding"]
    assert list(item) == ["float", "base64", "ubinary"]
    np.testing.assert_allclose(item["float"], truth("red"), atol=1e-6)
    assert base64.b64decode(item["base64"]) == np.array(item["float"], "<f4").tobytes()
    assert item["ubinary"] == quantize(np.array([truth("red")], np.float32), "ubinary", None)[0].tolist()
    short = (await embed(**{field: ["float", "float", "binary"]}, dimensions=3)).json()["data"][0]["embedding"]
    assert [len(short["float"]), len(short["binary"])] == [3, 1]


async def test_a_type_that_the_model_lacks_is_refused_among_several_too(embed):
    assert refusal(await embed(embedding_types=["float", "int8"]))["param"] == "embedding_types"
    assert refusal(await embed(embedding_type=[]))["param"] == "embedding_type"
    np.testing.assert_allclose(vector(await embed(embedding_type=["float"])), truth("red"), atol=1e-6)


async def test_an_encoding_that_there_is_not_is_refused_with_those_that_there_are(embed):
    message = refusal(await embed(encoding_format="float16"))["message"]
    assert "'float16'" in message
    assert message.endswith("Allowed: float, base64, int8, uint8, binary, ubinary.")


# One server for each list of cases, which takes most of a test's time.
PROMPT_BY_WORD = [
    ({"input_type": "query"}, "green "),
    ({"input_type": "QUERY"}, "green "),
    ({"input_type": "search_query"}, "green "),
    ({"task": "retrieval.query"}, "w2 "),
    ({"task_type": "RETRIEVAL_QUERY"}, "w2 "),
    ({"input_type": "document"}, ""),  # as encode_document has it
    ({"input_type": "passage"}, "blue "),
    ({"input_type": "search_document"}, "blue "),
    ({"task": "retrieval.passage"}, "blue "),
    ({"taskType": "RETRIEVAL_DOCUMENT"}, "blue "),
    ({"input_type": "clustering"}, "w1 "),
    ({"task": "separation"}, "w1 "),
    ({"task": "clustering", "input_type": "separation"}, "w1 "),
    ({"task": None, "input_type": None}, ""),
    ({"task": "clustering", "prompt_name": "query"}, "green "),
]


async def test_every_word_for_what_a_text_is_takes_the_models_own_prompt(embed):
    for fields, prompt in PROMPT_BY_WORD:
        answer = await embed(model=PROMPTED, **fields)
        np.testing.assert_allclose(vector(answer), truth(prompt + "red"), atol=1e-6, err_msg=str(fields))


@pytest.mark.parametrize("model", [MODEL, PROMPTED])
@pytest.mark.parametrize("field", ["input_type", "task"])
async def test_a_kind_of_text_that_the_model_has_no_prompt_for_is_refused_with_its_prompts(embed, model, field):
    error = refusal(await embed(model=model, **{field: "classification"}))
    assert error["param"] == field
    assert "'classification'" in error["message"]
    assert set(error["promptNames"]) == {"query", "document"} | (set(PROMPTS) if model == PROMPTED else set())


async def test_a_model_without_prompts_takes_queries_and_documents_as_they_are(embed):
    for word in ("query", "search_query", "retrieval.query", "document", "passage", "search_document"):
        np.testing.assert_allclose(vector(await embed(input_type=word)), truth("red"), atol=1e-6)


async def test_two_words_for_different_kinds_of_text_are_refused(embed):
    assert refusal(await embed(task="retrieval.query", input_type="document"))["param"] == "task"
    assert (await embed(task="retrieval.query", input_type="query")).status_code == 200


CUT_AT_THE_END = [
    {"truncate": "END"},
    {"truncate": "right"},
    {"truncate": True},
    {"truncate": None},
    {"truncation": True},
    {"truncate_prompt_tokens": -1},
    {"truncation_side": "right"},
]


async def test_a_text_that_is_too_long_is_cut_at_its_end(embed):
    for fields in CUT_AT_THE_END:
        answer = await embed(input=LONG, **fields)
        np.testing.assert_allclose(vector(answer), truth(LONG), atol=1e-6, err_msg=str(fields))
        assert answer.headers["x-truncated-texts"] == "1"


@pytest.mark.parametrize(
    "fields",
    [
        {"truncate": "START"},
        {"truncate": "left"},
        {"truncation_side": "left"},
        {"truncationDirection": "Left"},
        {"truncate": True, "truncation_side": "left"},
    ],
    ids=str,
)
async def test_a_text_that_is_too_long_is_cut_at_its_start(way, embed, fields):
    answer = await embed(input=[LONG, "red"], token_counts=True, **fields)
    np.testing.assert_allclose(vector(answer), truth(" ".join(LONG.split()[2 - MAX_TOKENS :])), atol=1e-6)
    assert [item["truncated"] for item in answer.json()["data"]] == [True, False]
    assert answer.json()["usage"]["total_tokens"] == MAX_TOKENS + 3
    own = await embed(input=ids_of("w1") + [4] * 60, token_encoding="own", **fields)
    np.testing.assert_allclose(vector(own), truth("red " * 60), atol=1e-6)


@pytest.mark.parametrize("fields", [{"truncate": "NONE"}, {"truncate": "none"}, {"truncation": False}], ids=str)
async def test_a_text_that_is_too_long_is_refused_where_that_is_asked_for(embed, fields):
    assert refusal(await embed(input=LONG, **fields))["code"] == "context_length_exceeded"
    np.testing.assert_allclose(vector(await embed(**fields)), truth("red"), atol=1e-6)


REFUSED = [
    ({"truncate": "MIDDLE"}, "truncate", "'end'"),
    ({"truncate": 3}, "truncate", ""),
    ({"truncation_side": "top"}, "truncation_side", "'left', 'right'"),
    ({"truncate": "NONE", "truncation": True}, "truncation", ""),
    ({"truncate": "END", "truncation_side": "left"}, "truncation_side", ""),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "-1"),
    ({"truncate": False, "truncate_prompt_tokens": -1}, "truncate_prompt_tokens", ""),
    ({"late_chunking": True}, "late_chunking", "false"),
    ({"return_multivector": True}, "return_multivector", "false"),
    ({"addSpecialTokens": False}, "add_special_tokens", "true"),
    ({"embed_dtype": "bfloat16"}, "embed_dtype", "'float32'"),
    ({"endianness": "big"}, "endianness", "'little', 'native'"),
    ({"chat_template": "{{ messages }}"}, "chat_template", ""),
    ({"mm_processor_kwargs": {"num_crops": 4}}, "mm_processor_kwargs", "{}"),
    ({"instruction": "Find:"}, "instruction", ""),
    ({"prompt_template": "{text}"}, "prompt_template", ""),
]


async def test_what_cannot_be_had_is_refused_with_the_field_the_value_and_what_is_allowed(embed):
    for fields, param, allowed in REFUSED:
        error = refusal(await embed(**fields))
        assert error["param"] == param
        assert allowed in error["message"]


async def test_two_fields_that_differ_are_shown_as_they_were_given(embed):
    for fields, shown in (
        ({"normalize": False, "embd_normalize": 2}, "normalize (false) and embd_normalize (2) are"),
        ({"truncate": "Start", "truncation_side": "RIGHT"}, "truncate ('Start') and truncation_side ('RIGHT') are"),
        ({"truncate": "NONE", "truncation": "END"}, "truncate ('NONE') and truncation ('END') are"),
        ({"task": "retrieval.query", "input_type": "passage"}, "input_type ('passage') and task ('retrieval.query')"),
        ({"output_dtype": "int8", "embedding_type": ["binary"]}, "output_dtype ('int8') and embedding_type (['bin"),
    ):
        assert refusal(await embed(**fields))["message"].startswith(shown)


async def test_a_text_is_cut_at_the_requests_own_number_of_tokens(embed):
    answer = await embed(input="red green blue", truncate_prompt_tokens=3)
    np.testing.assert_allclose(vector(answer), truth("red"), atol=1e-6)
    assert answer.headers["x-truncated-texts"] == "1"
    left = await embed(input="red green blue", truncate_prompt_tokens=3, truncation_side="left")
    np.testing.assert_allclose(vector(left), truth("blue"), atol=1e-6)
    whole = await embed(input="red green blue", truncate_prompt_tokens=1000)
    np.testing.assert_allclose(vector(whole), truth("red green blue"), atol=1e-6)
    assert "special tokens" in refusal(await embed(truncate_prompt_tokens=2))["message"]


async def test_what_asks_for_what_is_done_in_any_case_passes(embed):
    fields = {
        "late_chunking": False,
        "return_multivector": False,
        "add_special_tokens": True,
        "embed_dtype": "float32",
        "endianness": "little",
        "mm_processor_kwargs": {},
        "instruction": "",
        "prompt_template": None,
        "truncate": None,
        "embedding_type": "float",
        "normalized": True,
        "embd_normalize": 2,
        "user": "somebody",
        "priority": 3,
        "no_such_field": {"a": [1]},
    }
    np.testing.assert_allclose(vector(await embed(**fields)), truth("red"), atol=1e-6)


async def test_the_native_routes_refuse_what_they_do_not_know(planes):
    """There a field of another API is an error whatever its value."""
    for field in ("task", "output_dimension", "normalized", "embedding_type", "token_encoding"):
        answer = await planes.embed("red", **{field: "query"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert json.loads((await planes.embed("red", inputType="passage")).content)["message"].endswith("query, document.")
