"""A minimal server as baseline of ``latency.py``: handles one text at a time, in one function.

It has no queue, limits, routes or engine. So its overhead over bare ONNX Runtime is the cost of Python, HTTP and
cold CPU caches, which any server has.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import numpy as np
import orjson
import uvloop

from bare import AS_THE_SERVER, open_sessions
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import collate
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Embedder:
    """The model's tokenizer and a session with several threads."""

    def __init__(self, repository: Path, name: str, threads: int, *, spinning: bool) -> None:
        store = Repository(repository)
        entry = store.find(model_key(name, "sentence_transformers"))
        assert entry is not None
        assert entry.manifest.text is not None
        graph = entry.manifest.graphs[0]
        self._preprocessor = TextPreprocessor(entry.manifest.text, entry.folder)
        self._inputs = [tensor.name for tensor in graph.inputs]
        (self._session,) = open_sessions(
            store.locate_graph(graph),
            sessions=1,
            threads=threads,
            spinning=spinning,
            disabled_optimizers=AS_THE_SERVER,
        )

    def embed(self, text: str) -> np.ndarray:
        """Return the vector of a text, ``float32 [D]``."""
        items = self._preprocessor.encode([text])
        return self._session.run(None, collate(items, self._preprocessor.config, self._inputs))[0][0]


class Connection(asyncio.Protocol):
    """Responds to POST requests with the body ``{"name": …, "text": …}``, one after the other."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._data = b""
        vector = self._embedder.embed(orjson.loads(body)["text"])
        answer = orjson.dumps({"embeddings": [vector]}, option=orjson.OPT_SERIALIZE_NUMPY)
        self._transport.write(_HEAD % len(answer) + answer)  # type: ignore[attr-defined]


async def serve(embedder: Embedder, port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(embedder), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--spinning", action="store_true")
    options = parser.parse_args()
    embedder = Embedder(options.repository, options.model, options.threads, spinning=options.spinning)
    uvloop.run(serve(embedder, options.port))


if __name__ == "__main__":
    main()
