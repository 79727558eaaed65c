"""What workers read of each other without asking."""

import os
import subprocess
import sys

from ingrain.app.workers.shared_counters import SharedTable

_BEGIN = """
import sys
from ingrain.app.workers.shared_counters import SharedTable
table = SharedTable(int(sys.argv[1]), 3)
for _ in range(2):
    table.in_flight(1, "graph").begin()
table.count_closed(1)
"""


def test_another_process_sees_what_was_written_and_a_row_can_be_cleared():
    descriptor = SharedTable.create(3)
    table = SharedTable(descriptor, 3)
    subprocess.run([sys.executable, "-c", _BEGIN, str(descriptor)], pass_fds=[descriptor], check=True)
    os.close(descriptor)
    counts = [table.in_flight(worker, "graph") for worker in range(3)]
    counts[0].begin()
    assert [count.elsewhere() for count in counts] == [2, 1, 3]
    assert [table.closed(worker) for worker in range(3)] == [0, 1, 0]
    table.clear(1)
    assert [count.elsewhere() for count in counts] == [0, 1, 1]
    assert table.closed(1) == 0
    counts[0].end()
    assert counts[1].elsewhere() == 0


def test_graphs_are_counted_apart():
    descriptor = SharedTable.create(2)
    table = SharedTable(descriptor, 2)
    os.close(descriptor)
    table.in_flight(0, "one").begin()
    assert table.in_flight(1, "one").elsewhere() == 1
    assert table.in_flight(1, "other").elsewhere() == 0
    assert table.all_in_flight(1).elsewhere() == 0
    table.all_in_flight(0).begin()
    assert table.all_in_flight(1).elsewhere() == 1
    assert table.in_flight(1, "one").elsewhere() == 1
