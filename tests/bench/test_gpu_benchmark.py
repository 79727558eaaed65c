"""The benchmark for a machine with a GPU keeps its time, and loses nothing that it has measured."""

import json
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    yield gpu
    for name in ("gpu", "gpu_wheels"):
        sys.modules.pop(name, None)


@pytest.fixture
def wheels(gpu):
    del gpu
    return sys.modules["gpu_wheels"]


def rows(output):
    return json.loads(output.read_text())["rows"]


def test_a_part_is_skipped_with_its_reason_when_too_little_time_is_left(gpu, tmp_path):
    output = tmp_path / "gpu.json"
    report = gpu.Report({}, 40.0, output)
    report.part("long", lambda: pytest.fail("it was run"), needs_s=30.0)
    (row,) = rows(output)
    assert row["part"] == "long"
    assert "30" in row["skipped"]


def test_a_part_that_takes_too_long_is_stopped_and_the_next_one_is_skipped(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_SHUTDOWN_S", 0.0)
    output = tmp_path / "gpu.json"
    report = gpu.Report({}, 0.3, output)
    report.part("hangs", lambda: time.sleep(60), needs_s=0.0)
    report.part("next", lambda: [{"part": "next", "itemsPerS": 1.0}], needs_s=0.1)
    assert ["skipped" in row for row in rows(output)] == [True, True]


def test_a_part_that_fails_costs_the_others_nothing(gpu, tmp_path, capsys):
    output = tmp_path / "gpu.json"
    report = gpu.Report({"device": "some GPU"}, 100.0, output)

    def fail():
        raise RuntimeError("no memory")

    report.part("fails", fail, needs_s=1.0)
    report.part("works", lambda: [{"part": "works", "itemsPerS": 1234.5, "gpuBusy": 0.9}], needs_s=1.0)
    failed, works = rows(output)
    assert failed["skipped"] == "RuntimeError: no memory"
    assert works["itemsPerS"] == 1234.5
    assert json.loads(output.read_text())["device"] == "some GPU"
    printed = capsys.readouterr().out
    assert "no memory" in printed
    assert "1,234/s" in printed
    assert "GPU  90 %" in printed


def test_wheels_that_travel_in_parts_are_joined_again(wheels, tmp_path):
    content = bytes(range(256)) * 10
    (tmp_path / "large-1-py3-none-any.whl").write_bytes(content)
    (tmp_path / "small-1-py3-none-any.whl").write_bytes(b"small")
    wheels.split(tmp_path, 1000)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *(f"large-1-py3-none-any.whl.{number:03}" for number in range(3)),
        "small-1-py3-none-any.whl",
    ]
    wheels.join(tmp_path)
    assert (tmp_path / "large-1-py3-none-any.whl").read_bytes() == content
    assert (tmp_path / "small-1-py3-none-any.whl").read_bytes() == b"small"
    assert len(list(tmp_path.iterdir())) == 2


def test_onnx_runtime_for_cpus_is_not_among_the_wheels(wheels):
    for with_cuda in (True, False):
        wanted = wheels.requirements(with_cuda=with_cuda)
        assert not [one for one in wanted if one.startswith("onnxruntime>") or one == "onnxruntime"]
        assert any(one.startswith("onnxruntime-gpu") and ("[cuda,cudnn]" in one) == with_cuda for one in wanted)
