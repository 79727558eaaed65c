"""Which media type an ``Accept`` header means."""

import pytest

from ingrain.server.plane.accept import preferred

OFFERED = ("application/json", "application/octet-stream", "application/x-npy")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "application/json"),
        ("application/octet-stream", "application/octet-stream"),
        ("application/json, application/x-npy", "application/json"),
        ("application/json;q=0.5, application/x-npy", "application/x-npy"),
        ("application/json;q=0.5, */*", "application/octet-stream"),
        ("Application/X-NPY ; q=1.0", "application/x-npy"),
        ("application/x-npy;q=nonsense, application/json;q=0.1", "application/json"),
        (",;,=", "application/json"),
    ],
)
def test_the_highest_weight_wins_and_our_order_decides_between_equals(accept, media):
    assert preferred(accept, OFFERED) == media
