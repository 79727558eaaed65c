"""Requests leave nothing behind that only the garbage collector could free, for the server has it look seldom."""

import asyncio
import gc

import pytest


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": "red"}, 200),
        ({"text": ["red"] * 50}, 200),
        ({"text": "red", "nDims": 5_000}, 400),
        ({"name": "org/nobody", "text": "red"}, 404),
        ({"text": "poison"}, 500),
    ],
    ids=["one text", "many texts", "a wrong field", "an unknown model", "a text that the engine refuses"],
)
async def test_requests_leave_no_garbage(planes, body, status):
    async def ask() -> None:
        answer = await planes.inference.post("/embed_text", json={"name": "org/model", **body})
        assert answer.status_code == status

    await asyncio.gather(*(ask() for _ in range(20)))  # what is made once, and the client's own connections
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await asyncio.gather(*(ask() for _ in range(20)))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        mine = [item for item in gc.garbage if type(item).__module__.startswith("ingrain")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert len(mine) < 100, {type(item) for item in mine}  # of 400 requests
