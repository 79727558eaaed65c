"""`ingrain tune`: against real planes in this process."""

import json

from ingrain.repository.tuning import Layout


def slow_unless(layout: Layout):
    return lambda current, shape: 0.0025 if current == layout else 0.02


async def test_a_tuning_is_shown_as_a_table_and_as_json(ingrain, planes):
    planes.engine.batch_s = slow_unless(Layout(1, 2))
    status, printed, complained = await ingrain("tune", "org/model", "--seconds", "1")
    assert (status, complained) == (0, "")
    lines = printed.splitlines()
    assert "times the default" in lines[0]
    assert "text_encoder: 1 copy, 2 threads each" in printed
    rows = [line.split() for line in lines if line.startswith(("STEP", "layout", "tokens", "items", "check"))]
    assert rows[0] == ["STEP", "COPIES", "THREADS", "ITEMS", "TOKENS", "ITEMS/S", "RATIO"]
    assert rows[1][:5] == ["layout", "2", "1", "32", "4096"]
    assert rows[-1][0] == "check"
    status, shown, _ = await ingrain("tune", "org/model", "--show")
    assert (status, shown) == (0, printed)
    status, printed, _ = await ingrain("tune", "org/model", "--show", "--json")
    assert json.loads(printed)["graphs"][0]["chosen"]["copies"] == 1
    assert (await ingrain("tune", "org/model", "--reset"))[:2] == (
        0,
        "Model org/model runs with the default settings again.\n",
    )
    assert "no tuning that fits" in (await ingrain("tune", "org/model", "--show"))[1]


async def test_what_the_server_refuses_is_told(ingrain):
    status, _, complained = await ingrain("tune", "absent")
    assert (status, "not loaded" in complained) == (1, True)
    status, _, complained = await ingrain("tune", "org/model", "--seconds", "0", "--json")
    assert (status, json.loads(complained)["error"]["code"]) == (1, "invalid_request")
    assert (await ingrain("tune", "org/model", "--seconds", "soon"))[0] == 2
    assert (await ingrain("tune", "org/model", "--show", "--reset"))[0] == 2


async def test_the_command_explains_itself_with_examples(ingrain):
    status, printed, _ = await ingrain("tune", "--help")
    assert status == 0
    assert "examples:\n  ingrain tune " in printed
