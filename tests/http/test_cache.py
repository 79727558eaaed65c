"""The cache of vectors over HTTP: who gets cached rows, in which forms, and when a text is computed again."""

import asyncio
import base64

import msgspec
import numpy as np
import pytest

from ingrain.settings import Settings
from planes import TEXT, WIDTH, running_planes

TEXTS = ["red w1", "green w2 w3"]


async def openai(planes, text, headers=None, **fields):
    body = {"model": "org/model", "input": text, **fields}
    return await planes.inference.post("/v1/embeddings", json=body, headers=headers)


async def native(planes, text, headers=None, **fields):
    body = {"name": "org/model", "text": text, **fields}
    return await planes.inference.post("/embed_text", json=body, headers=headers)


async def both(planes, text, headers=None):
    body = {"name": "org/model", "text": text}
    return await planes.inference.post("/embed", json=body, headers=headers)


def items(planes) -> int:
    """Return the number of texts that the engine has computed."""
    return sum(shape[0] for _, shape in planes.engine.batches)


async def metric(planes, name: str, **labels: str) -> float:
    text = (await planes.inference.get("/metrics", headers={"accept": "text/plain"})).text
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    start = f"{name}{{{shown}}} " if labels else f"{name} "
    return float(next(line for line in text.splitlines() if line.startswith(start)).removeprefix(start))


async def test_all_forms_and_dialects_share_one_computation(planes, way):
    """What they answer equals what a server without a cache answers, in a thread and in the event loop."""
    vectors = np.array((await native(planes, TEXTS)).json()["embeddings"], np.float32)
    plain = np.array((await native(planes, TEXTS, normalize=False)).json()["embeddings"], np.float32)
    short = (await native(planes, TEXTS, nDims=3)).json()["embeddings"]
    raw = (await native(planes, TEXTS, headers={"accept": "application/octet-stream"})).content
    written = (await native(planes, TEXTS[0], encodingFormat="base64")).json()["embeddings"][0]
    binary = (await native(planes, TEXTS, outputDtype="ubinary")).json()["embeddings"]
    answer = (await openai(planes, TEXTS)).json()
    together = (await both(planes, TEXTS)).json()["textEmbeddings"]
    assert items(planes) == 2
    assert raw == vectors.tobytes()
    assert base64.b64decode(written) == vectors[0].tobytes()
    for same in (together, [one["embedding"] for one in answer["data"]]):
        np.testing.assert_array_equal(np.array(same, np.float32), vectors)
    np.testing.assert_allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), vectors, rtol=1e-6)
    cut = plain[:, :3] / np.linalg.norm(plain[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(short, cut, rtol=1e-6)
    assert binary == np.packbits(vectors > 0, axis=1).tolist()


async def test_counts_and_reports_of_truncation_are_exact_for_cached_texts(planes):
    text = " ".join(["w1"] * 100)
    answers = [await openai(planes, [text, "red"], token_counts=True) for _ in range(2)]
    assert items(planes) == 2
    for answer in answers:
        assert answer.json()["usage"] == {"prompt_tokens": 35, "total_tokens": 35}
        assert [one["tokens"] for one in answer.json()["data"]] == [32, 3]
        assert answer.headers["x-truncated-texts"] == "1"
    assert (await native(planes, text, truncate=False)).status_code == 400
    assert items(planes) == 2


@pytest.mark.parametrize("send", [native, openai, both])
@pytest.mark.parametrize("value", ["no-store", "no-cache", "max-age=0, No-Store"])
async def test_a_request_can_pass_the_cache_by(planes, send, value):
    """It neither adds rows nor gets any."""
    for expected in (1, 2):
        assert (await send(planes, "red", headers={"cache-control": value})).status_code == 200
        assert items(planes) == expected
    await send(planes, "red")
    assert items(planes) == 3
    await send(planes, "red", headers={"cache-control": value})
    assert items(planes) == 4
    await send(planes, "red", headers={"cache-control": "max-age=0"})
    assert items(planes) == 4


async def test_labels_of_zero_shot_requests_come_from_the_cache_of_texts(planes):
    """They share the rows of embedded texts, and pass the cache by in the same way."""
    await planes.load("org/clip", "open_clip")
    pixel = base64.b64encode(
        bytes.fromhex("424d3a0000000000000036000000280000000100000001000000010018000000000004000000")
        + bytes(16)
        + bytes([1, 2, 3, 0])
    ).decode()
    await native(planes, ["red", "green"], name="org/clip")

    def texts() -> int:
        return sum(shape[0] for _, shape in planes.engine.batches if len(shape) == 2)

    async def classify(headers=None):
        body = {"name": "org/clip", "image": pixel, "labels": ["red", "green"]}
        answer = await planes.inference.post("/classify_image_zero_shot", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["probabilities"]

    first = await classify()
    assert texts() == 2
    for expected in (4, 6):
        assert await classify({"cache-control": "no-store"}) == first
        assert texts() == expected


async def test_keys_do_not_share_rows(tmp_path):
    """Otherwise the time of an answer would tell one tenant what another has embedded."""
    async with running_planes(tmp_path, Settings(api_keys=("one", "two", "admin:models"))) as planes:
        planes.model.headers["authorization"] = "Bearer admin"
        await planes.load()
        for key, expected in (("one", 1), ("one", 1), ("two", 2), ("two", 2), ("one", 2)):
            answer = await native(planes, "red", headers={"authorization": f"bearer  {key}"})
            assert answer.status_code == 200
            assert items(planes) == expected
        await asyncio.gather(*(openai(planes, "w7", {"authorization": f"Bearer {key}"}) for key in ("one", "two")))
        planes.inference.headers["authorization"] = "Bearer one"
        assert await metric(planes, "ingrain_cache_items_total", model="org/model", result="joined") == 0


async def test_without_needed_keys_all_callers_share_rows_whatever_key_they_send(planes):
    for key in ("one", "two"):
        await native(planes, "red", headers={"authorization": f"Bearer {key}"})
    assert items(planes) == 1


async def test_the_metrics_tell_hits_joins_misses_and_bytes(planes):
    planes.engine.latency_s = 0.05
    await asyncio.gather(*(native(planes, "red") for _ in range(5)))
    await native(planes, ["red", "green"])
    found = {
        result: await metric(planes, "ingrain_cache_items_total", model="org/model", result=result)
        for result in ("hit", "joined", "miss")
    }
    assert found["miss"] == items(planes) == 2
    assert found["hit"] + found["joined"] == 5
    assert found["joined"] >= 1
    assert await metric(planes, "ingrain_cache_bytes") >= 2 * 4 * WIDTH


async def test_no_cache_by_setting(tmp_path):
    async with running_planes(tmp_path, Settings(cache_bytes=0)) as planes:
        await planes.load()
        for expected in (1, 2):
            await native(planes, "red")
            assert items(planes) == expected
        assert await metric(planes, "ingrain_cache_bytes") == 0


async def test_the_vectors_of_a_replaced_model_are_never_answered(planes):
    """The same name in another precision: other graphs, whose rows are computed anew."""
    await native(planes, "red")
    body = {"name": "org/model", "library": "sentence_transformers", "precision": "int8"}
    answer = await planes.model.post("/load_model", json=body)
    assert answer.status_code == 200, answer.text
    await native(planes, "red")
    assert items(planes) == 2


async def test_an_unloaded_model_leaves_no_rows(planes):
    await native(planes, "red")
    assert await metric(planes, "ingrain_cache_bytes") > 0
    assert (await planes.model.post("/unload_model", json={"name": "org/model"})).status_code == 200
    assert await metric(planes, "ingrain_cache_bytes") == 0
    await planes.load()
    await native(planes, "red")
    assert items(planes) == 2


async def test_a_tuned_model_keeps_its_rows(planes):
    await native(planes, "red")
    answer = await planes.model.post("/tune_model", json={"name": "org/model"})
    assert answer.status_code == 200, answer.text
    before = items(planes)
    await native(planes, "red")
    assert items(planes) == before


async def test_equal_ids_with_different_prompts_left_out_of_pooling_are_different_rows(planes):
    """`red` + ` w1 w2` and `red w1` + ` w2` are the same token ids; pooling leaves out two or three of them."""
    prompts = {"short": "red ", "long": "red w1 "}
    planes.export.text = msgspec.structs.replace(TEXT, prompts=prompts, include_prompt=False)
    await planes.load("org/prompted")
    for _ in range(2):
        await native(planes, "w1 w2", name="org/prompted", promptName="short")
        assert items(planes) == 1
    for _ in range(2):
        await native(planes, "w2", name="org/prompted", promptName="long")
        assert items(planes) == 2
    await native(planes, "red w1 w2", name="org/prompted")
    assert items(planes) == 3


async def test_a_failed_text_is_not_kept(planes):
    assert (await native(planes, "poison")).status_code == 500
    planes.engine.poison_id = None
    assert (await native(planes, "poison")).status_code == 200
    assert (await native(planes, "broken")).status_code == 500
    planes.engine.nan_id = None
    assert (await native(planes, "broken")).status_code == 200


async def test_cached_texts_are_answered_while_the_queue_is_too_long(planes):
    """What is not cached is refused."""
    await native(planes, "red")
    queue = planes.services.registry.get("org/model").queues["text_encoder"]

    def too_late(items, timeout_s):
        raise queue._admission.full(1)

    queue.refuse_when_late = too_late
    assert (await native(planes, "red")).status_code == 200
    assert (await native(planes, "green")).status_code == 429
