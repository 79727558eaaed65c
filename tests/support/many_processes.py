"""A program of many processes with one client, made when its module is imported; it prints how many answers are right.

Run as ``python many_processes.py fork|spawn EXPECTED.npy``: six processes ask for 60 texts each, a request a text,
and the first three of them for as many once more with an event loop.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading

import numpy as np

import ingrain

PROCESSES, EACH = 6, 60

client = ingrain.Client(return_numpy=True)
async_client = ingrain.AsyncClient(return_numpy=True)


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


async def right_awaited(number: int, expected: np.ndarray) -> int:
    """Ask the same of the asynchronous client, ten at a time."""
    own = range(number * EACH, (number + 1) * EACH)
    right = 0
    for first in own[::10]:
        some = range(first, first + 10)
        answers = await asyncio.gather(*(async_client.embed_text("org/model", texts()[n]) for n in some))
        right += sum(
            np.allclose(answer.numpy()[0], expected[n], atol=1e-6) for answer, n in zip(answers, some, strict=True)
        )
    return right


def report(queue, given, number: int, expected: np.ndarray) -> None:
    right = right_answers(given, number, expected)
    queue.put((right, asyncio.run(right_awaited(number, expected)) if number < 3 else EACH))


def main(method: str, expected: np.ndarray) -> None:
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    asyncio.run(right_awaited(0, expected))
    client.embed_text("org/model", (texts() * 3)[:1000])  # eight connections, and threads that have just used them
    counted: list[int] = []
    beside = threading.Thread(target=lambda: counted.append(right_answers(client, 0, expected)))
    beside.start()  # locks are held and answers on their way while processes are forked
    # A forked process has the module's own client; a spawned one is handed it, as a task of joblib or Spark would be.
    given = None if method == "fork" else client
    processes = [context.Process(target=report, args=(queue, given, n, expected)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=600) for _ in processes]
    there, awaited = sum(right for right, _ in answers), all(right == EACH for _, right in answers)
    for process in processes:
        process.join()
    beside.join()
    print(f"{there} of {PROCESSES * EACH} right, {counted[0]} of {EACH} in the parent, awaited {awaited}")


if __name__ == "__main__":
    main(sys.argv[1], np.load(sys.argv[2]))
