"""Which settings allow several workers, and each one's share of the limits."""

import pytest

from ingrain.app.limits import queue_limits, worker_share
from ingrain.app.placement import placement_of
from ingrain.app.run import run
from ingrain.cores import usable_cores
from ingrain.errors import SettingsError
from ingrain.settings import Settings, load_settings


def test_limits_of_all_requests_together_are_divided_and_rounded_up():
    settings = Settings(
        workers=3, max_queue_tokens=100, max_requests=7, max_fetches=2, image_threads=8, cache_bytes=100
    )
    share = worker_share(settings)
    assert (share.max_queue_tokens, share.max_requests, share.max_fetches, share.image_threads) == (34, 3, 1, 3)
    assert share.cache_bytes == 33
    assert share.max_items == settings.max_items
    assert worker_share(Settings(workers=2)).image_threads == -(-usable_cores() // 2)


@pytest.mark.parametrize(("all_bodies", "share"), [(512, 128), (8_000, 500), (100, 100)])
def test_each_worker_takes_the_largest_body(all_bodies, share):
    mebibyte = 1024 * 1024
    settings = Settings(workers=16, max_bodies_bytes=all_bodies * mebibyte)
    assert worker_share(settings).max_bodies_bytes == share * mebibyte


@pytest.mark.parametrize(
    ("settings", "few"),
    [
        (Settings(engine="onnxruntime"), False),
        (Settings(engine="triton", triton_grpc_url="triton:8001"), True),
        (Settings(engine="triton", triton_grpc_url="triton:8001", dynamic_batching=False), False),
        (Settings(engine="triton", triton_grpc_url="triton:8001", workers=2), True),
        (worker_share(Settings(engine="onnxruntime", workers=2)), True),
    ],
)
def test_batches_are_padded_to_few_lengths_where_triton_may_merge_those_of_several_front_ends(settings, few):
    assert queue_limits(settings, placement_of(settings)).few_lengths == few


def test_workers_that_would_each_load_every_model_are_refused(tmp_path):
    """ONNX Runtime in the process is no engine that several processes can share."""
    with pytest.raises(SettingsError, match=r"INGRAIN_WORKERS is 2.*ONNX Runtime"):
        run(Settings(workers=2, engine="onnxruntime", repository=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["0", "-1", "257", "two"])
def test_a_number_of_workers_that_cannot_be_is_named(text):
    with pytest.raises(SettingsError, match="INGRAIN_WORKERS"):
        load_settings({}, {"INGRAIN_WORKERS": text})
