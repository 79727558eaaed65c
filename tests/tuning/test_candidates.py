"""What is tried: layouts that use the cores and fit the memory, sizes that the graph was loaded for."""

import pytest

from ingrain.repository.manifest import Graph, StoredFile
from ingrain.repository.tuning import Layout
from ingrain.tuning.candidates import batch_items, batch_tokens, layouts, most_copies

GB = 10**9


def graph(role="text_encoder", weights=GB // 2) -> Graph:
    files = (
        StoredFile(path="1/model.onnx", size_bytes=1000, sha256=""),
        StoredFile(path="1/model.onnx.data", size_bytes=weights - 1000, sha256=""),
    )
    return Graph(name="g", role=role, inputs=(), outputs=(), files=files)


@pytest.mark.parametrize(
    ("cores", "default", "expected"),
    [
        (1, (1, 1), []),
        (2, (2, 1), [(1, 2)]),
        (4, (4, 1), [(2, 2), (1, 4)]),
        (6, (4, 1), [(3, 2), (6, 1), (2, 3), (1, 6)]),
        (7, (4, 1), [(7, 1), (2, 3), (1, 7)]),
        (8, (4, 2), [(2, 4), (8, 1), (1, 8)]),
        (64, (4, 16), [(2, 32), (8, 8), (1, 64), (16, 4)]),
    ],
)
def test_layouts_use_the_cores_and_those_like_the_default_come_first(cores, default, expected):
    assert [(one.copies, one.threads) for one in layouts(cores, Layout(*default))] == expected


def test_copies_that_do_not_fit_the_memory_are_not_tried():
    """A copy with several threads has its own weights, twice while they load; the default's are loaded already."""
    default = Layout(2, 4)
    assert most_copies(graph(), default, 0) == 2
    assert most_copies(graph(), default, GB) == 2
    assert most_copies(graph(), default, 3 * GB) == 4
    assert Layout(4, 2) not in layouts(8, default, most_copies=most_copies(graph(), default, GB))
    assert Layout(4, 2) in layouts(8, default, most_copies=most_copies(graph(), default, 3 * GB))


def test_copies_of_one_thread_share_their_weights():
    assert Layout(8, 1) in layouts(8, Layout(2, 4), most_copies=2)
    assert most_copies(graph(), Layout(8, 1), 0) == 1
    assert most_copies(graph(), Layout(8, 1), 3 * GB) == 3


def test_where_nobody_knows_the_memory_no_more_copies_are_tried():
    assert most_copies(graph(), Layout(3, 2), None) == 3


def test_batches_stay_within_what_the_graph_was_loaded_for():
    assert batch_items(graph(), 32, 64) == [8, 16, 64]
    assert batch_items(graph(), 32, 32) == [8, 16]
    assert batch_items(graph("image_encoder"), 32, 64) == [2, 4, 8, 16, 64]
    assert sorted(batch_tokens(512)) == [256, 1024, 2048]
    assert batch_tokens(0) == []
