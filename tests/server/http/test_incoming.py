"""The pieces of a body make the body again, however they came."""

import os

import pytest

from ingrain.server.http.incoming import IncomingRequest
from ingrain.server.http.message import Request


@pytest.mark.parametrize(
    "sizes",
    [[3], [40_000, 5], [70_000, 5], [1] * 100_000, [70_000, 100_000, 300_000, 5, 70_000, 2_000_000, 4]],
    ids=["one", "two", "large", "single bytes", "mixed"],
)
def test_pieces_of_a_body_are_joined_in_order(sizes: list[int]) -> None:
    message, pieces = IncomingRequest(Request("POST", "/")), [os.urandom(size) for size in sizes]
    for piece in pieces:
        message.size += len(piece)
        message.add(piece)
    message.close_body()
    request = message.request
    assert b"".join((request.body, *request.pieces)) == b"".join(pieces)
    assert (not request.body) == (len(sizes) > 1 and sum(sizes) > 65_536), "large bodies are joined in a thread"
    # Joining anything but bytes would keep all other threads waiting.
    assert {type(piece) for piece in request.pieces} <= {bytes}
    assert len(request.pieces) < 10
