"""Clients that send without a pause while something is done to their server."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import httpx

from processes import MINILM, ServerProcess

_GIVE_UP_AFTER_S = 120


class Senders:
    """Clients in threads: each keeps its connection, sends one text after the other, and tries again when refused.

    Attributes:
        answers: The number of each text that was answered, with its vector.
        statuses: Statuses of all answers.
        refusals: Statuses other than 200, each with its ``Retry-After``.
        broken: Numbers of the clients whose connections broke, one entry each time.
        served_by: The process that served each client, until its connection broke first.
        surprises: Errors of clients, and texts that were never answered.
    """

    def __init__(self, server: ServerProcess, count: int, texts: Sequence[str]) -> None:
        self.server = server
        self.texts = texts
        self.stop = threading.Event()
        self.answers: list[tuple[int, list[float]]] = []
        self.statuses: list[int] = []
        self.refusals: list[tuple[int, str | None]] = []
        self.broken: list[int] = []
        self.served_by: dict[int, str] = {}
        self.surprises: list[object] = []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Senders:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def broke_with(self) -> set[str]:
        """Return the processes whose clients' connections broke, having seen that no other was on one of them."""
        gone = {self.served_by[number] for number in self.broken}
        assert {number for number, process in self.served_by.items() if process in gone} == set(self.broken)
        return gone

    def _run(self, number: int) -> None:
        try:
            with httpx.Client(base_url=self.server.inference, timeout=60) as client:
                turn = number
                while not self.stop.is_set():
                    self._send(client, number, turn % len(self.texts))
                    turn += 5
        except Exception as error:
            self.surprises.append(error)

    def _send(self, client: httpx.Client, number: int, index: int) -> None:
        give_up_at = time.monotonic() + _GIVE_UP_AFTER_S
        while time.monotonic() < give_up_at:
            try:
                answer = client.post("/embed_text", json={"name": MINILM, "text": self.texts[index]})
            except httpx.TransportError:
                self.broken.append(number)
                continue
            if number not in self.broken:
                self.served_by[number] = process_of(answer)
            self.statuses.append(answer.status_code)
            if answer.status_code == 200:
                self.answers.append((index, answer.json()["embeddings"][0]))
                return
            self.refusals.append((answer.status_code, answer.headers.get("retry-after")))
            time.sleep(0.2)
        self.surprises.append(index)


def process_of(answer: httpx.Response) -> str:
    """Return what the request ids of one process begin with."""
    return answer.headers["x-request-id"][:20]
