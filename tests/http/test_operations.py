"""Loads as operations: started without waiting, followed, listed and cancelled."""

import asyncio
import json

import pytest

from ingrain.errors import SourceNotFoundError
from ingrain.progress import Progress
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.plane.operations import Operation
from ingrain.settings import Settings
from planes import FakeExport, running_planes

ST = "sentence_transformers"


async def start(planes, name="org/new", **fields):
    answer = await planes.model.post("/load_model", json={"name": name, "library": ST, "wait": False, **fields})
    assert answer.status_code == 202, answer.text
    operation = answer.json()
    assert answer.headers["location"] == f"/operations/{operation['id']}"
    return operation


async def events(planes, operation):
    """Return the events of an operation from now to its end."""
    answer = await planes.model.get(f"/operations/{operation['id']}/events")
    assert answer.headers["content-type"] == "text/event-stream"
    told = []
    for block in answer.text.strip().split("\n\n"):
        kind, data = block.split("\n")
        told.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


async def test_a_load_is_followed_to_its_end(tmp_path):
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        operation = await start(planes)
        assert (operation["state"], operation["attempt"], operation["endedAt"]) == ("running", 1, None)
        following = asyncio.create_task(events(planes, operation))
        await asyncio.sleep(0.3)
        assert (await start(planes))["id"] == operation["id"]  # the load in progress is joined
        export.hold.set()
        told = await following
        assert [kind for kind, _ in told[:-1]] == ["progress"] * (len(told) - 1)
        assert told[-1][0] == "end"
        assert [one["done"] for _, one in told if one["phase"] == "export"]
        end = told[-1][1]
        assert (end["state"], end["lastError"]) == ("succeeded", None)
        assert end["endedAt"] >= end["startedAt"]
        assert (await planes.embed("red", name="org/new")).status_code == 200
        assert (await planes.model.get(f"/operations/{operation['id']}")).json() == end
        assert (await events(planes, operation)) == [("end", end)]


async def test_a_load_that_fails_tells_the_cause(tmp_path):
    error = SourceNotFoundError("The hub has no model 'org/absent'.", param="name")
    async with running_planes(tmp_path, export=FakeExport(error=error)) as planes:
        (*_, (kind, end)) = await events(planes, await start(planes, "org/absent"))
        assert (kind, end["state"]) == ("end", "failed")
        assert (end["lastError"], end["errorCode"]) == (error.message, error.code)


async def test_loads_that_wait_are_listed_with_their_places(tmp_path):
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        first, second, third = [await start(planes, f"org/{name}") for name in ("a", "b", "c")]
        await asyncio.sleep(0.3)
        listed = (await planes.model.get("/operations")).json()["operations"]
        assert [one["id"] for one in listed] == [third["id"], second["id"], first["id"]]
        assert sorted((one["queuePosition"] or 0, one["phase"]) for one in listed) == [
            (0, "export"),
            (1, "queued"),
            (2, "queued"),
        ]
        export.hold.set()
        for one in (first, second, third):
            assert (await events(planes, one))[-1][1]["state"] == "succeeded"


async def test_a_cancelled_load_leaves_nothing(tmp_path):
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        operation = await start(planes)
        waiting = asyncio.create_task(planes.model.post("/load_model", json={"name": "org/new", "library": ST}))
        await asyncio.sleep(0.2)
        cancelled = await planes.model.post(f"/operations/{operation['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        refused = await waiting
        assert refused.status_code == 400
        assert "cancelled" in refused.json()["message"]
        assert (await planes.model.get("/repository_models")).json()["models"] == []
        again = await planes.model.post(f"/operations/{operation['id']}/cancel")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "operation_ended")
        export.hold = None
        await planes.load("org/new")


async def test_a_cancelled_change_of_precision_leaves_the_model_as_it_was(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load("org/new")
        planes.export.hold = asyncio.Event()
        operation = await start(planes, precision="int8")
        await asyncio.sleep(0.2)
        assert (await planes.embed("red", name="org/new")).status_code == 200
        await planes.model.post(f"/operations/{operation['id']}/cancel")
        assert (await planes.embed("red", name="org/new")).status_code == 200
        (model,) = (await planes.model.get("/repository_models")).json()["models"]
        assert (model["state"], model.get("precision", "fp32"), model.get("reason")) == ("READY", "fp32", None)
        planes.export.hold = None
        assert (await events(planes, await start(planes, precision="int8")))[-1][1]["state"] == "succeeded"


async def test_a_cancelled_load_that_waits_for_another_one_stops_only_itself(tmp_path):
    async with running_planes(tmp_path, export=FakeExport(hold=asyncio.Event())) as planes:
        first = await start(planes)
        second = await start(planes, precision="int8")
        await asyncio.sleep(0.2)
        cancelled = await planes.model.post(f"/operations/{second['id']}/cancel")
        assert cancelled.json()["state"] == "cancelled"
        planes.export.hold.set()
        assert (await events(planes, first))[-1][1]["state"] == "succeeded"
        (model,) = (await planes.model.get("/repository_models")).json()["models"]
        assert (model["state"], model.get("precision", "fp32")) == ("READY", "fp32")


async def test_a_load_is_cancelled_while_its_model_is_being_unloaded_for_another(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load("org/new")
        gate, unload = asyncio.Event(), planes.engine.unload

        async def held(name):
            await gate.wait()
            await unload(name)

        planes.engine.unload = held
        registry = planes.services.registry
        (slot,) = registry.slots
        registry._loader.rest(slot, "room")
        operation = await start(planes)
        await asyncio.sleep(0.2)
        cancelled = await planes.model.post(f"/operations/{operation['id']}/cancel")
        assert cancelled.json()["state"] == "cancelled"
        gate.set()
        await asyncio.wait([slot.task])
        assert (slot in registry.slots, slot.is_resting) == (True, True)
        assert await start(planes) != operation


async def test_loads_beyond_the_limit_are_refused_at_once_and_joining_one_is_not(tmp_path):
    settings, export = Settings(max_operations=2), FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, settings, export=export) as planes:
        for name in ("org/a", "org/b"):
            await start(planes, name)
        body = {"name": "org/c", "library": ST, "wait": False}
        refused = await planes.model.post("/load_model", json=body)
        assert (refused.status_code, refused.json()["error"]["limit"]) == (429, 2)
        assert "INGRAIN_MAX_OPERATIONS" in refused.json()["message"]
        assert "retry-after" in refused.headers
        last = await start(planes, "org/b")
        export.hold.set()
        await events(planes, last)
        await start(planes, "org/c")


async def test_an_unknown_operation_is_not_found(tmp_path):
    async with running_planes(tmp_path) as planes:
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            assert (await planes.model.request(method, f"/operations/none{path}")).status_code == 404


async def test_those_who_follow_do_not_hold_up_a_stop(tmp_path):
    async with running_planes(tmp_path, export=FakeExport(hold=asyncio.Event())) as planes:
        operation = await start(planes)
        following = asyncio.create_task(events(planes, operation))
        await asyncio.sleep(0.2)
        planes.services.operations.stop_following()
        assert (await following)[-1][1]["state"] == "running"


@pytest.mark.parametrize(
    ("after", "told", "attempt"),
    [
        (Progress("download", "a", 10, 100, "bytes"), Progress("download", "a", 50, 100, "bytes"), 1),
        (Progress("download", "b", 10, 100, "bytes"), Progress("download", "b", 10, 100, "bytes"), 1),
        (Progress("export", "", 0, 2, "graphs"), Progress("export", "", 0, 2, "graphs"), 1),
        (Progress("read"), Progress("read"), 1),
    ],
)
async def test_progress_never_goes_back(after, told, attempt):
    operation = Operation(ref=ModelRef(name="org/new", library=ST))
    operation.tell(Progress("download", "a", 50, 100, "bytes"), None)
    operation.tell(after, None)
    assert (operation.progress, operation.attempt) == (told, attempt)
    operation.tell(Progress("verify"), None)
    operation.tell(Progress("download", "a", 1, 100, "bytes"), None)
    assert (operation.progress.done, operation.attempt) == (1, 2)  # another attempt begins anew
