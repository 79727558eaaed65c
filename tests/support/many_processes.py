"""A program of many processes with one client, made when its module is imported; it prints how many answers are right.

Run as ``python many_processes.py fork|spawn EXPECTED.npy``: 16 processes ask for 100 texts each, one request a text.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading

import numpy as np

import ingrain

PROCESSES, EACH = 16, 100

client = ingrain.Client(return_numpy=True)


def texts() -> list[str]:
    """Return distinct texts, so that no answer is right for another's question."""
    return [f"w{n % 100} w{n // 100} w{n % 7}" for n in range(PROCESSES * EACH)]


def right_answers(given: ingrain.Client | None, number: int, expected: np.ndarray) -> int:
    """Ask for this process's own texts, from two threads, and count what came back right."""
    asked = client if given is None else given
    own = range(number * EACH, (number + 1) * EACH)
    right: list[bool] = []

    def work(some: range) -> None:
        for n in some:
            rows = asked.embed_text("org/model", texts()[n]).numpy()
            right.append(rows.shape == (1, expected.shape[1]) and bool(np.allclose(rows[0], expected[n], atol=1e-6)))

    threads = [threading.Thread(target=work, args=(some,)) for some in (own[::2], own[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(right)


def report(queue, given, number: int, expected: np.ndarray) -> None:
    queue.put(right_answers(given, number, expected))


def main(method: str, expected: np.ndarray) -> None:
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    client.embed_text("org/model", texts()[:1000])  # eight connections, and threads that have just used them
    # A forked process has the module's own client; a spawned one is handed it, as a task of joblib or Spark would be.
    given = None if method == "fork" else client
    processes = [context.Process(target=report, args=(queue, given, n, expected)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    here = right_answers(client, 0, expected)
    there = sum(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    print(f"{there} of {PROCESSES * EACH} right, {here} of {EACH} in the parent")


if __name__ == "__main__":
    main(sys.argv[1], np.load(sys.argv[2]))
