"""Runs the functions of one client's program, inside the environment of that client. Uses the standard library only.

Arguments: the program's file, and the description of the server as JSON. Prints one line of JSON: for each function
that does not start with an underscore ``ok``, or what it raised.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
import urllib.request
from pathlib import Path


class Server:
    """The server as a program sees it.

    Attributes:
        url: Base URL of the inference plane, without a slash at the end.
        busy_url: The same server behind a proxy; the first request after each ``make_busy`` is answered with 429.
        grpc: Host and port of the gRPC service.
        key: API key.
        dense, reranker, sparse, clip, classifier: Names of loaded models.
    """

    def __init__(self, facts: dict[str, str]) -> None:
        self.__dict__.update(facts)

    def make_busy(self) -> None:
        """Have the next request to ``busy_url`` answered with 429."""
        urllib.request.urlopen(self.busy_url + "/__make_busy__", timeout=60).read()

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """Send a request to Ingrain's own API."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def vectors(self, texts: list[str], **fields: object) -> list[list[float]]:
        """Return the vectors of texts by Ingrain's own API."""
        return self.post("/embed_text", {"name": self.dense, "text": texts, **fields})["embeddings"]

    def scores(self, query: str, documents: list[str]) -> list[float]:
        """Return the scores of documents by Ingrain's own API, in their order."""
        found = self.post("/rerank", {"name": self.reranker, "query": query, "documents": documents})["results"]
        return [one["score"] for one in sorted(found, key=lambda one: one["index"])]


def main() -> None:
    """Run all functions of the program and print their results."""
    file, facts = Path(sys.argv[1]), json.loads(sys.argv[2])
    results: dict[str, str] = {}
    try:
        spec = importlib.util.spec_from_file_location("program", file)
        program = importlib.util.module_from_spec(spec)
        sys.modules["program"] = program
        spec.loader.exec_module(program)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"import": _shown(error)}))
        return
    for name, function in list(vars(program).items()):
        is_own = inspect.isfunction(function) and function.__module__ == "program"
        if not is_own or name.startswith("_"):
            continue
        try:
            function(Server(facts))
            results[name] = "ok"
        except Exception as error:
            traceback.print_exc()
            results[name] = _shown(error)
    print(json.dumps(results))


def _shown(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()
