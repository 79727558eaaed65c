"""A small real server that speaks the hub's protocol on loopback, and can be made to fail as the real one does.

::

    with HubServer() as hub:
        commit = hub.add("org/model", folder)
        hub.fail("model.safetensors", Cut(after_bytes=1000))
        ...  # HF_ENDPOINT=hub.url
        assert [r.headers.get("range") for r in hub.gets("model.safetensors")] == [None, "bytes=1000-"]
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Self

from hub_faults import Cut, Drip, Fault, Garble, IgnoreRange, Silence, Status
from hub_protocol import File, HubHandler, HubState, LoggedRequest, Repo

__all__ = ["Cut", "Drip", "Fault", "Garble", "HubServer", "IgnoreRange", "LoggedRequest", "Silence", "Status"]


class HubServer:
    """A hub on loopback; a context manager.

    Args:
        token: The token that opens gated and private models.
        cdn: True to send large files by a redirect to another origin, as the hub does.
    """

    def __init__(self, *, token: str = "hf_test_token", cdn: bool = False) -> None:
        self._state = HubState(token=token)
        self._servers = [self._listen() for _ in range(2 if cdn else 1)]
        if cdn:
            self._state.cdn_url = f"http://127.0.0.1:{self._servers[1].server_port}"

    def _listen(self) -> ThreadingHTTPServer:
        handler = type("Handler", (HubHandler,), {"state": self._state})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        return server

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._state.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        """The address for ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def token(self) -> str:
        """The token that opens gated and private models."""
        return self._state.token

    @property
    def cdn_url(self) -> str | None:
        """The address that large files are redirected to, if any."""
        return self._state.cdn_url

    @property
    def requests(self) -> list[LoggedRequest]:
        """All requests so far, oldest first."""
        with self._state.lock:
            return list(self._state.requests)

    def add(
        self,
        repo_id: str,
        files: Path | dict[str, bytes],
        *,
        revision: str = "main",
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Publish a model, or a further revision of it.

        Args:
            repo_id: ``org/name``, or one bare name.
            files: A folder, or contents by path.
            revision: The branch or tag that stands for them.
            gated: True to give out files only with the token; the listing is public.
            private: True to hide the model without the token.

        Returns:
            The commit, 40 hex digits.
        """
        contents: dict[str, bytes | Path] = (
            {path.relative_to(files).as_posix(): path for path in sorted(files.rglob("*")) if path.is_file()}
            if isinstance(files, Path)
            else dict(files)
        )
        stored = {path: File.of(path, content) for path, content in contents.items()}
        listing = json.dumps([(path, file.digest) for path, file in stored.items()])
        commit = hashlib.sha1(listing.encode()).hexdigest()
        repo = self._state.repos.setdefault(repo_id, Repo(gated, private))
        repo.commits[commit] = stored
        repo.refs[revision] = commit
        return commit

    def fail(self, path_part: str, fault: Fault, *, times: int = 1) -> None:
        """Let the next GET requests whose path contains ``path_part`` fail, one fault a request."""
        with self._state.lock:
            self._state.faults.extend([(path_part, fault)] * times)

    def gets(self, path_part: str) -> list[LoggedRequest]:
        """Return the GET requests whose path contains ``path_part``, oldest first."""
        return [request for request in self.requests if request.method == "GET" and path_part in request.path]
