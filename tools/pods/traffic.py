"""Sends texts through a service, a connection for each request, and counts what went wrong."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping

import numpy as np

TEXT = "A text that every pod must embed alike."


def embed(address: str, model: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None) -> np.ndarray:
    """Return the vector of ``TEXT``, float32 [D].

    Raises:
        OSError, http.client.HTTPException: The connection failed.
        RuntimeError: The status is not 200.
    """
    connection = (
        http.client.HTTPConnection(address, 8686, timeout=60)
        if tls is None
        else http.client.HTTPSConnection(address, 8686, timeout=60, context=tls)
    )
    body = json.dumps({"name": model, "text": TEXT})
    fields = {"Content-Type": "application/json", "Cache-Control": "no-store", **headers}
    try:
        connection.request("POST", "/embed_text", body, fields)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {content[:200]!r}")
    return np.array(json.loads(content)["embeddings"], dtype=np.float32).reshape(-1)


class Traffic:
    """Two clients that send until they are told to stop.

    Attributes:
        answered: Right answers.
        failures: What went wrong: errors, and vectors that differ by more than 1e-4.
    """

    def __init__(self, address: str, model: str, headers: Mapping[str, str], expected: np.ndarray) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._arguments = address, model, headers
        self._expected = expected
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                difference = float(np.abs(embed(*self._arguments) - self._expected).max())
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                self.failures.append(f"{time.monotonic() - begun:.2f} s: {type(error).__name__}: {error}")
                continue
            if difference > 1e-4:
                self.failures.append(f"a vector differs by {difference}")
            self.answered += 1

    def stop(self) -> None:
        """Stop and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
