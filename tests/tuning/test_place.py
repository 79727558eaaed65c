"""Which stored tuning holds on this server, and that what the operator has set wins over it."""

import msgspec
import pytest

from entries_of_tunings import CHOSEN, manifest, tuned
from ingrain.repository.manifest import StoredFile
from ingrain.repository.tuning import Execution, Layout
from planes import make_place


def test_without_a_tuning_the_defaults_hold():
    place = make_place()
    assert place.fitting(manifest()) is None
    assert place.executions(manifest()) == {"text_encoder": place.default}


def test_a_tuning_made_here_holds():
    place = make_place()
    assert place.executions(tuned(place)) == {"text_encoder": CHOSEN}


@pytest.mark.parametrize(
    "change", [{"cores": 4}, {"processor": "another"}, {"engine": "embedded"}, {"instance_kind": "KIND_GPU"}]
)
def test_a_tuning_of_another_machine_or_engine_does_not_hold(change):
    place = make_place()
    other = msgspec.structs.replace(place.machine, **change)
    assert place.fitting(tuned(place, machine=other)) is None


def test_a_tuning_of_other_graphs_does_not_hold():
    """A model that was made anew, of another revision or in another precision, has other checksums."""
    place, old = make_place(), tuned(make_place())
    (graph,) = old.graphs
    changed = (StoredFile(path="1/model.onnx", size_bytes=9, sha256="other"),)
    new = msgspec.structs.replace(old, graphs=(msgspec.structs.replace(graph, files=changed),))
    assert place.fitting(old) is not None
    assert place.fitting(new) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"MODEL_INSTANCES": 2}, Execution(layout=Layout(2, 1), max_items=64, max_tokens=1024, overhead_tokens=40)),
        (
            {"INGRAIN_THREADS_PER_INSTANCE": 1},
            Execution(layout=Layout(2, 1), max_items=64, max_tokens=1024, overhead_tokens=40),
        ),
        ({"MAX_BATCH_SIZE": 32}, Execution(layout=Layout(1, 2), max_items=32, max_tokens=1024, overhead_tokens=40)),
        (
            {"INGRAIN_MAX_BATCH_TOKENS": 4096},
            Execution(layout=Layout(1, 2), max_items=64, max_tokens=4096, overhead_tokens=40),
        ),
    ],
)
def test_what_is_set_wins_and_the_rest_of_the_tuning_holds(given, expected):
    assert make_place(given=given).executions(tuned(make_place())) == {"text_encoder": expected}


def test_a_tuning_made_under_a_setting_holds_no_longer_than_the_setting():
    under = make_place(given={"MODEL_INSTANCES": 2})
    stored = tuned(under, given={"MODEL_INSTANCES": 2})
    assert under.fitting(stored) is not None
    assert make_place().fitting(stored) is None
    assert make_place(given={"MODEL_INSTANCES": 1}).fitting(stored) is None


def test_nothing_is_tried_of_what_is_set():
    (graph,) = manifest().graphs
    everything = {"MODEL_INSTANCES": 2, "MAX_BATCH_SIZE": 32, "INGRAIN_MAX_BATCH_TOKENS": 512}
    assert not make_place(given=everything).candidates(graph)
    some = make_place(given={"INGRAIN_THREADS_PER_INSTANCE": 1, "MAX_BATCH_SIZE": 8}).candidates(graph)
    assert (some.layouts, some.items) == ([], ())
    assert some.tokens


def test_a_new_tuning_takes_the_place_of_the_one_made_alike_and_leaves_those_of_other_machines():
    place = make_place()
    (mine,) = tuned(place).tunings
    other = msgspec.structs.replace(mine, machine=msgspec.structs.replace(mine.machine, cores=96))
    newer = msgspec.structs.replace(mine, seconds=9.0)
    assert place.with_tuning((mine, other), newer) == (other, newer)
    assert place.without_tunings((mine, other)) == (other,)


def test_a_tuning_that_did_not_measure_the_overhead_keeps_the_default_of_it():
    place = make_place()
    before = msgspec.structs.replace(CHOSEN, overhead_tokens=0)
    old = tuned(place, chosen=before)
    assert place.executions(old)["text_encoder"].overhead_tokens == place.default.overhead_tokens
