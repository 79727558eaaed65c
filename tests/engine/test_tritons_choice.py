"""Addresses of several Tritons, the choice among them, and the Tritons that a model is for."""

import asyncio
from collections import Counter

import numpy as np
import pytest

from ingrain.engine.tritons.addresses import Addresses, Target, read_targets, resolve
from ingrain.engine.tritons.balancer import Balancer
from ingrain.engine.tritons.server import Server
from ingrain.engine.tritons.wishes import Wishes
from ingrain.errors import EngineUnavailableError, InferenceError, ModelNotLoadedError, SettingsError

ONE_TEXT = {"input_ids": np.ones((1, 4), np.int64)}


class Answering:
    """Stands for the engine of one Triton: it answers with its name after it was told to, or fails."""

    responds = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def infer(self, name, inputs, *, timeout_s=None, alone=False, outputs=None):
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return {"by": np.array([self.name])}


def balancer_of(*names: str) -> Balancer:
    balancer = Balancer(lambda name: ModelNotLoadedError(f"no {name}"))
    balancer.servers = [Server(name, Answering(name), {"graph"}) for name in names]
    return balancer


async def who_answers(balancer: Balancer, inputs=ONE_TEXT) -> str:
    return (await balancer.infer("graph", inputs))["by"][0]


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("triton:8001", ["triton:8001"]),
        ("grpc://a:1, b:2/ ,10.0.0.1:3", ["a:1", "b:2", "10.0.0.1:3"]),
        ("[::1]:8001,unix:/run/triton", ["[::1]:8001", "unix:/run/triton"]),
        ("a:1,a:1", ["a:1"]),
        ("dns:///anything that gRPC takes", ["dns:///anything that gRPC takes"]),
    ],
)
def test_the_setting_is_read_as_a_list_of_addresses(setting, texts):
    assert [target.text for target in read_targets(setting)] == texts


def test_a_name_may_stand_for_several_and_an_address_may_not():
    assert read_targets("triton:8001") == (Target("triton:8001", "triton", 8001),)
    assert [target.host for target in read_targets("127.0.0.1:1,[::1]:1,unix:/x")] == [None, None, None]


@pytest.mark.parametrize("setting", ["a:1,", "a:1,b", "a:1,b:0", "http://b:8001", "a:1,http://b:8001", "a:1,::1:8001"])
def test_an_entry_that_is_no_address_is_named(setting):
    with pytest.raises(SettingsError, match=r"TRITON_GRPC_URL (has the entry|is )") as caught:
        read_targets(setting)
    assert caught.value.param == "TRITON_GRPC_URL"


async def test_a_name_with_addresses_of_both_kinds_is_one_server():
    assert await resolve("localhost", 8001) == ["127.0.0.1:8001"]


async def test_a_name_stands_for_what_it_leads_to_once_there_were_several():
    """Before that it stays a name, which gRPC looks up whenever it connects; a failed look-up changes nothing."""
    answers: list[list[str]] = [["10.0.0.1:1"], [], ["10.0.0.1:1", "10.0.0.2:1"], [], ["10.0.0.2:1"]]

    async def look_up(host: str, port: int) -> list[str]:
        if not answers[0]:
            answers.pop(0)
            raise OSError("no name server")
        return answers.pop(0)

    addresses = Addresses(read_targets("tritons:1,10.0.0.9:1"), look_up)
    found = [await addresses.look() for _ in range(5)]
    several = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.9:1"]
    assert found == [*2 * [["tritons:1", "10.0.0.9:1"]], several, several, ["10.0.0.2:1", "10.0.0.9:1"]]


async def test_equally_loaded_ones_take_turns():
    balancer = balancer_of("a", "b", "c")
    assert Counter([await who_answers(balancer) for _ in range(9)]) == {"a": 3, "b": 3, "c": 3}


async def test_the_one_with_the_fewest_tokens_gets_the_batch():
    balancer = balancer_of("a", "b")
    for server in balancer.servers:
        server.engine.go_on.clear()
    long_text = {"input_ids": np.ones((1, 100), np.int64)}
    waiting = [asyncio.create_task(balancer.infer("graph", long_text))]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(balancer.infer("graph", ONE_TEXT)) for _ in range(10)]
    await asyncio.sleep(0)
    assert sorted((server.tokens, server.batches) for server in balancer.servers) == [(40, 10), (100, 1)]
    for server in balancer.servers:
        server.engine.go_on.set()
    await asyncio.gather(*waiting)
    assert [(server.tokens, server.batches) for server in balancer.servers] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("failure", [EngineUnavailableError("gone"), ModelNotLoadedError("lost")])
async def test_a_lost_batch_runs_elsewhere_and_the_loser_rests(failure):
    balancer = balancer_of("a", "b")
    balancer.servers[0].engine.failure = failure
    assert [await who_answers(balancer) for _ in range(20)] == 20 * ["b"]
    assert (balancer.servers[0].sent, balancer.servers[0].failed) == (1, 1)


async def test_a_batch_that_fails_by_itself_is_not_repeated():
    balancer = balancer_of("a", "b")
    for server in balancer.servers:
        server.engine.failure = InferenceError("bad item")
    with pytest.raises(InferenceError):
        await who_answers(balancer)
    assert sum(server.sent for server in balancer.servers) == 1


async def test_when_all_fail_an_engine_that_is_away_says_more_than_one_without_the_graph():
    balancer = balancer_of("a", "b")
    balancer.servers[0].engine.failure = ModelNotLoadedError("lost")
    balancer.servers[1].engine.failure = EngineUnavailableError("gone")
    for _ in range(2):
        with pytest.raises(EngineUnavailableError):
            await who_answers(balancer)
    with pytest.raises(ModelNotLoadedError, match="no other"):
        await balancer.infer("other", ONE_TEXT)


async def test_one_in_which_a_batch_hangs_rests_when_the_batch_is_given_up():
    balancer = balancer_of("a", "b")
    balancer.servers[1].engine.go_on.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(who_answers(balancer), 0.01)
    assert {await who_answers(balancer) for _ in range(6)} == {"a"}


async def test_one_that_leaves_is_asked_only_for_what_no_other_has():
    balancer = balancer_of("a", "b")
    balancer.servers[0].is_leaving = True
    assert {await who_answers(balancer) for _ in range(6)} == {"b"}
    balancer.servers[1].graphs = set()
    assert await who_answers(balancer) == "a"


async def test_a_model_is_placed_by_its_own_order_of_the_tritons():
    """Equal for every front end, spread over the Tritons, and a lost Triton moves only the models that it had."""
    servers = [Server(f"10.0.0.{number}:8001", Answering("x")) for number in range(5)]
    wishes = Wishes(replicas=2)
    names = [f"model-{number:010x}.text_encoder" for number in range(60)]

    def placed(servers):
        return {name: {server.address for server in wishes.placed(name, servers)} for name in names}

    before = placed(servers)
    assert before == placed(servers[::-1])
    assert all(len(found) == 2 for found in before.values())
    assert min(Counter(address for found in before.values() for address in found).values()) > 10
    after = placed(servers[1:])
    lost = servers[0].address
    assert all(before[name] == after[name] for name in names if lost not in before[name])
    assert all(before[name] - {lost} < after[name] for name in names if lost in before[name])
    key = "model-0123456789"
    assert wishes.placed(f"{key}.text_encoder", servers) == wishes.placed(f"{key}.image_encoder", servers)
    assert Wishes().placed(names[0], servers) == servers


async def test_those_that_missed_a_look_are_asked_where_none_responds():
    balancer = balancer_of("a", "b")
    for server in balancer.servers:
        server.is_watched, server.engine.responds = True, False
    assert {await who_answers(balancer) for _ in range(4)} == {"a", "b"}
    balancer.servers[1].engine.responds = True
    assert {await who_answers(balancer) for _ in range(4)} == {"b"}
    balancer.servers[1].graphs.clear()
    with pytest.raises(ModelNotLoadedError):
        await who_answers(balancer)
