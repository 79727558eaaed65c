"""Batches of one graph run on several threads, share its weights, and are merged by shape while they wait."""

import threading
import time

import numpy as np
import pytest

import graphs
from ingrain.python_backend.runs import ConcurrentRuns, GivenUpError, Job, run_together
from ingrain.python_backend.sessions import open_cpu_sessions

WAIT_S = 30
OUTPUT = "sentence_embedding"


class Answers:
    """Collects the results of jobs."""

    def __init__(self):
        self.results = {}
        self._changed = threading.Condition()

    def take(self, name):
        def finish(result):
            with self._changed:
                assert name not in self.results
                self.results[name] = result
                self._changed.notify_all()

        return finish

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.results) >= count, WAIT_S)
        return self.results


class Gate:
    """A function that runs batches, and holds each one until it is opened."""

    def __init__(self):
        self.began = threading.Semaphore(0)
        self.sizes = []
        self._open = threading.Event()

    def run(self, inputs, outputs=()):
        self.sizes.append(len(inputs["x"]))
        self.began.release()
        assert self._open.wait(WAIT_S)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}

    def open(self):
        self._open.set()


@pytest.fixture
def gate():
    return Gate()


def rows(*values, width=3):
    return {"x": np.array([[value] * width for value in values], np.float32)}


def text(items, tokens, seed=0):
    rng = np.random.default_rng((items, tokens, seed))
    ids = rng.integers(1, graphs.VOCABULARY, (items, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def session_of(tmp_path, **options):
    path = tmp_path / "model.onnx"
    graphs.write_text_graph(path, **options)
    sessions, lone = open_cpu_sessions(
        path,
        copies=8,
        threads=1,
        lone_threads=0,
        lone_spin_us=0,
        disabled_optimizers=(),
        has_fixed_shapes=False,
    )
    assert lone is None
    (session,) = sessions
    return lambda inputs, _=(): {OUTPUT: session.run([OUTPUT], inputs)[0]}


def test_eight_runs_of_one_session_give_each_caller_its_own_vectors(tmp_path):
    """A real session, eight threads, 200 batches of 15 shapes: nothing is mixed up."""
    run = session_of(tmp_path)
    runs, answers = ConcurrentRuns([run] * 8, max_items=16), Answers()
    batches = [text(1 + seed % 5, 1 + seed % 3, seed) for seed in range(200)]
    for number, inputs in enumerate(batches):
        runs.submit(Job(inputs=inputs, finish=answers.take(number)))
    results = answers.wait(len(batches))
    runs.close()
    for number, inputs in enumerate(batches):
        np.testing.assert_allclose(results[number][OUTPUT], graphs.expected_embedding(*inputs.values()), atol=1e-6)
    counts = runs.statistics()
    assert counts["items"] == sum(len(inputs["input_ids"]) for inputs in batches)
    assert counts["success"][0] == counts["queue"][0] == counts["compute"][0] == 200
    assert sum(size * count for size, count, _ in counts["batches"]) == counts["items"]
    assert counts["fail"] == [0, 0]


def test_as_many_batches_run_at_once_as_there_are_threads(gate):
    runs, answers = ConcurrentRuns([gate.run] * 3, max_items=8), Answers()
    for width in (1, 2, 3, 4):
        runs.submit(Job(inputs=rows(1, width=width), finish=answers.take(width)))
    for _ in range(3):
        assert gate.began.acquire(timeout=WAIT_S)
    assert not gate.began.acquire(timeout=0.2)
    gate.open()
    answers.wait(4)
    runs.close()


def test_waiting_batches_of_one_shape_are_merged_up_to_the_largest_size(gate):
    """Others between them, of another shape, neither end the merge nor are passed over for long."""
    runs, answers = ConcurrentRuns([gate.run], max_items=4), Answers()
    runs.submit(Job(inputs=rows(0), finish=answers.take("first")))
    assert gate.began.acquire(timeout=WAIT_S)
    waiting = {
        "a": rows(1, 2),
        "other": rows(3, width=5),
        "b": rows(4),
        "too many": rows(5, 6),
        "c": rows(7),
    }
    for name, inputs in waiting.items():
        runs.submit(Job(inputs=inputs, finish=answers.take(name)))
    gate.open()
    results = answers.wait(6)
    runs.close()
    assert gate.sizes == [1, 4, 1, 2]
    for name, inputs in waiting.items():
        np.testing.assert_array_equal(results[name]["y"], inputs["x"] * 2)
    counts = runs.statistics()
    assert [batch[:2] for batch in counts["batches"]] == [[1, 2], [2, 1], [4, 1]]
    assert (counts["items"], counts["success"][0]) == (8, 6)


def test_a_bad_batch_fails_alone_when_it_was_merged_with_others(gate):
    runs, answers = ConcurrentRuns([gate.run], max_items=8), Answers()
    runs.submit(Job(inputs=rows(0), finish=answers.take("first")))
    assert gate.began.acquire(timeout=WAIT_S)
    for name, value in {"good": 1, "bad": -1, "fine": 2}.items():
        runs.submit(Job(inputs=rows(value), finish=answers.take(name)))
    gate.open()
    results = answers.wait(4)
    runs.close()
    assert isinstance(results["bad"], ValueError)
    assert (results["good"]["y"][0, 0], results["fine"]["y"][0, 0]) == (2, 4)
    assert (runs.statistics()["success"][0], runs.statistics()["fail"][0]) == (3, 1)


def test_a_token_that_the_graph_does_not_know_fails_only_its_own_batch(tmp_path):
    """With ONNX Runtime's own error, and the threads go on."""
    run = session_of(tmp_path)
    poisoned = text(2, 4)
    poisoned["input_ids"][1, 2] = graphs.VOCABULARY + 5
    good = [text(2, 4, seed) for seed in (1, 2)]
    first, bad, last = run_together(run, [good[0], poisoned, good[1]])
    assert isinstance(bad, Exception)
    for result, inputs in ((first, good[0]), (last, good[1])):
        np.testing.assert_allclose(result[OUTPUT], graphs.expected_embedding(*inputs.values()), atol=1e-6)


def test_a_batch_that_is_alone_runs_as_such_and_one_beside_others_does_not(gate):
    lone = []

    def alone(inputs, outputs):
        lone.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    runs, answers = ConcurrentRuns([gate.run] * 2, max_items=8), Answers()
    runs.submit(Job(inputs=rows(1), finish=answers.take(1), alone=alone))
    answers.wait(1)
    assert (lone, gate.sizes) == ([1], [])
    runs.submit(Job(inputs=rows(1, 2), finish=answers.take(2)))
    assert gate.began.acquire(timeout=WAIT_S)
    runs.submit(Job(inputs=rows(1, 2, 3), finish=answers.take(3), alone=alone))
    assert gate.began.acquire(timeout=WAIT_S)
    gate.open()
    answers.wait(3)
    runs.close()
    assert (lone, sorted(gate.sizes)) == ([1], [2, 3])


def test_what_nobody_waits_for_any_more_is_not_computed(gate, monkeypatch):
    monkeypatch.setattr("ingrain.python_backend.runs._LONG_NS", 0)
    runs, answers = ConcurrentRuns([gate.run], max_items=8), Answers()
    gate.open()
    runs.submit(Job(inputs=rows(1), finish=answers.take("gone"), is_given_up=lambda: True))
    runs.submit(Job(inputs=rows(1, 2), finish=answers.take("wanted")))
    results = answers.wait(2)
    runs.close()
    assert isinstance(results["gone"], GivenUpError)
    assert results["wanted"]["y"].shape == (2, 3)
    assert gate.sizes == [2]


def test_batches_that_want_other_outputs_are_not_merged(gate):
    """So that a run computes only what all of its batches want."""
    runs, answers = ConcurrentRuns([gate.run], max_items=8), Answers()
    runs.submit(Job(inputs=rows(0), finish=answers.take("first")))
    assert gate.began.acquire(timeout=WAIT_S)
    for number, outputs in enumerate([("y",), ("y", "z"), ("y",)]):
        runs.submit(Job(inputs=rows(number), finish=answers.take(number), outputs=outputs))
    gate.open()
    answers.wait(4)
    runs.close()
    assert gate.sizes == [1, 2, 1]


def test_closing_finishes_what_waits(gate):
    runs, answers = ConcurrentRuns([gate.run] * 2, max_items=1), Answers()
    for number in range(6):
        runs.submit(Job(inputs=rows(number), finish=answers.take(number)))
    gate.open()
    runs.close()
    assert len(answers.results) == 6


def test_a_run_that_hangs_ends_the_process_and_a_slow_one_does_not(monkeypatch):
    monkeypatch.setattr("ingrain.python_backend.runs._TICK_S", 0.02)
    monkeypatch.setattr("ingrain.python_backend.runs._HANGS_AFTER_S", 0.4)
    monkeypatch.setattr("ingrain.python_backend.runs._HANGS_AFTER_TIMES", 2)
    ended, goes_on = threading.Event(), threading.Event()

    def run(inputs, outputs):
        seconds = float(inputs["x"][0])
        goes_on.wait(60) if seconds < 0 else time.sleep(seconds)
        return inputs

    def submit(seconds):
        done = threading.Event()
        runs.submit(Job(inputs={"x": np.array([seconds])}, finish=lambda _: done.set()))
        return done

    runs = ConcurrentRuns([run, run], max_items=1, end=ended.set)
    assert submit(0.5).wait(20), "the first runs may take long"
    assert submit(0.5).wait(20)
    assert not ended.is_set()
    hanging = submit(-1)
    assert submit(0.0).wait(20), "others run beside it"
    assert ended.wait(20)
    goes_on.set()
    assert hanging.wait(20)
    runs.close()
