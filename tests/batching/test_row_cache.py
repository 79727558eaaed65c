"""The store of computed rows: what it keeps, what it drops first, and that it stays within its bytes."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from ingrain.batching.row_cache import RowCache

ROW = bytes(1536)


def key(text: int, graph: int = 0) -> tuple:
    return graph, text.to_bytes(96, "big"), b"", 0


def fill(cache: RowCache, texts: range, graph: int = 0) -> None:
    for text in texts:
        cache.put(key(text, graph), ROW)


def test_a_row_is_found_under_its_whole_key_only():
    cache = RowCache(100_000)
    cache.put((0, b"ids", b"", 0), b"a row")
    assert cache.get((0, b"ids", b"", 0)) == b"a row"
    for other in ((1, b"ids", b"", 0), (0, b"id", b"s", 0), (0, b"ids", b"", 1), (0, b"ids", b"types", 0)):
        assert cache.get(other) is None


def test_a_row_that_is_there_already_stays_as_it_is():
    cache = RowCache(100_000)
    for row in (b"first", b"later"):
        cache.put(key(1), row)
        assert cache.get(key(1)) == b"first"


def test_the_oldest_rows_that_nobody_used_are_dropped_first():
    cache = RowCache(100_000)
    fill(cache, range(1000))
    kept = [text for text in range(1000) if cache.get(key(text)) is not None]
    assert kept == list(range(1000 - len(kept), 1000))
    assert 40 < len(kept) < 50


def test_texts_that_come_once_do_not_displace_those_that_come_often():
    cache = RowCache(100_000)
    often = range(20)
    fill(cache, often)
    for text in often:
        assert cache.get(key(text)) is not None
    fill(cache, range(1000, 101_000))
    assert all(cache.get(key(text)) is not None for text in often)


def test_rows_that_were_used_once_make_room_for_those_in_use_now():
    """Otherwise a cache that is full of what was popular yesterday would keep nothing new."""
    cache = RowCache(100_000)
    for text in range(1000):
        cache.put(key(text), ROW)
        assert cache.get(key(text)) == ROW
    assert cache.get(key(0)) is None
    assert cache.get(key(999)) is not None


def test_the_rows_of_one_graph_are_forgotten_and_their_bytes_are_free():
    cache = RowCache(100_000)
    fill(cache, range(20), graph=1)
    bytes_of_one = cache.bytes
    fill(cache, range(20), graph=2)
    for text in range(10):
        cache.get(key(text, 2))
    cache.forget(2)
    assert cache.bytes == bytes_of_one
    assert all(cache.get(key(text, 2)) is None for text in range(20))
    assert all(cache.get(key(text, 1)) is not None for text in range(20))
    cache.forget(1)
    assert cache.bytes == len(cache) == 0


def test_a_row_that_is_too_large_is_not_kept_and_displaces_nothing():
    cache = RowCache(100_000)
    fill(cache, range(10))
    cache.put(key(100), bytes(90_000))
    assert cache.get(key(100)) is None
    assert len(cache) == 10


@given(
    st.integers(0, 20_000),
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "forget"]), st.integers(0, 3), st.integers(0, 30), st.integers(0, 3000)
        )
    ),
)
def test_whatever_comes_the_bytes_are_counted_rightly_and_stay_within_the_limit(limit, steps):
    cache, held = RowCache(limit), {}
    for what, graph, text, size in steps:
        if what == "put":
            cache.put(key(text, graph), bytes(size))
            held.setdefault((text, graph), size)
        elif what == "get":
            row = cache.get(key(text, graph))
            if row is None:
                held.pop((text, graph), None)
            else:
                assert len(row) == held[text, graph]
        else:
            cache.forget(graph)
            held = {(text, other): size for (text, other), size in held.items() if other != graph}
        assert 0 <= cache.bytes <= limit
        assert (cache.bytes == 0) is (len(cache) == 0)
    for graph in range(4):
        cache.forget(graph)
    assert cache.bytes == len(cache) == 0


def test_the_counted_bytes_are_at_least_those_that_the_cache_really_takes():
    """Full, and with small rows, where the overhead is most of it; each key and row is made for the cache alone."""
    limit = 4_000_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = RowCache(limit)
        for text in range(30_000):
            cache.put((0, text.to_bytes(16, "big"), text.to_bytes(16, "big"), 700 + text), text.to_bytes(16, "big"))
            if text % 3 == 0:
                cache.get((0, text.to_bytes(16, "big"), text.to_bytes(16, "big"), 700 + text))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) > 8000
    assert after - before <= limit
