"""Amounts of memory and durations are read as people and Ollama's clients write them; anything else is none."""

import math

import pytest

from ingrain.app.model_memory import memory_policy
from ingrain.app.placement import placement_of
from ingrain.errors import SettingsError
from ingrain.machine_memory import machine_bytes
from ingrain.settings import Settings
from ingrain.units import parse_bytes, parse_seconds, parse_share, show_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("6GiB", 6 * 1024**3),
        ("500 MB", 500_000_000),
        ("1.5g", 1536 * 1024**2),
        ("12", 12),
        ("7b", 7),
        ("60%", None),
        ("-1", None),
        ("6 Gigs", None),
        ("", None),
    ],
)
def test_bytes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(("text", "share"), [("60%", 0.6), ("100 %", 1.0), ("0%", None), ("101%", None), ("60", None)])
def test_shares(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("250ms", 0.25),
        (5, 5),
        (0, 0),
        (-1, math.inf),
        ("-1m", math.inf),
        ("soon", None),
        ("10 parsecs", None),
        ("", None),
        ("nan", None),
        (math.inf, None),
    ],
)
def test_durations(given, seconds):
    assert parse_seconds(given) == seconds


def test_memory_is_shown_in_units():
    assert (show_bytes(254 * 1024**2), show_bytes(12 * 1024**3)) == ("254 MiB", "12.0 GiB")


def test_the_settings_make_a_policy():
    def policy(**fields):
        settings = Settings(engine="onnxruntime", **fields)
        return memory_policy(settings, placement_of(settings))

    nothing = policy()
    assert (nothing.budget_bytes, nothing.keep_alive_s, nothing.moves_models) == (None, math.inf, False)
    given = policy(model_memory="50%", keep_alive="10m", evict="never", pinned_models=("org/a", "timm:b"))
    assert given.budget_bytes == round(machine_bytes() / 2)
    assert (given.keep_alive_s, given.evicts, given.pinned) == (600, False, frozenset({"org/a", "b"}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_memory": "much"}, "INGRAIN_MODEL_MEMORY is 'much'"),
        ({"model_memory": "0"}, "INGRAIN_MODEL_MEMORY is '0'"),
        ({"model_memory": "60%", "triton_grpc_url": "127.0.0.1:1", "engine": "triton"}, "Give bytes"),
        ({"keep_alive": "long"}, "INGRAIN_KEEP_ALIVE is 'long'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, said):
    settings = Settings(**{"engine": "onnxruntime", **fields})
    with pytest.raises(SettingsError, match=said):
        memory_policy(settings, placement_of(settings))
