"""The hub's protocol, as much of it as the hub's own client needs: listings, errors by code, files with ranges."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import Cut, Drip, Fault, Garble, IgnoreRange, Silence, Status

LARGE = (".safetensors", ".bin", ".onnx", ".h5", ".pt", ".model")
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """What a client asked: path without query, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class File:
    """One file: its bytes, or the file on disk that has them; SHA-256 where it is large, git's SHA-1 otherwise."""

    content: bytes | Path
    size_bytes: int
    digest: str

    @classmethod
    def of(cls, path: str, content: bytes | Path) -> File:
        """Hash the content as the hub does."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        if path.endswith(LARGE):
            return cls(content, len(data), hashlib.sha256(data).hexdigest())
        return cls(content, len(data), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())

    def read(self, start: int) -> bytes:
        """Return the bytes from ``start`` on."""
        if isinstance(self.content, bytes):
            return self.content[start:]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read()


@dataclass(slots=True)
class Repo:
    """A model: its commits by digest, and its branches and tags."""

    gated: bool
    private: bool
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class HubState:
    """What the server holds, shared by the threads that answer.

    Attributes:
        token: The token that opens gated and private models.
        repos: Models by id.
        requests: All requests so far.
        faults: Faults to come, each with a part of the path it waits for.
        lock: Held while requests or faults are touched.
        closing: Set when the server ends, so that slow answers end too.
        cdn_url: Where large files are redirected to, if anywhere.
    """

    token: str
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[LoggedRequest] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    cdn_url: str | None = None

    def take_fault(self, path: str) -> Fault | None:
        """Return the oldest fault that waits for this path, and forget it."""
        with self.lock:
            for index, (path_part, _) in enumerate(self.faults):
                if path_part in path:
                    return self.faults.pop(index)[1]
        return None

    def find(self, parts: list[str]) -> tuple[str, list[str]] | None:
        """Split path segments into a known model's id and what follows it."""
        for length in (2, 1):
            repo_id = "/".join(parts[:length])
            if repo_id in self.repos:
                return repo_id, parts[length:]
        return None


class HubHandler(BaseHTTPRequestHandler):
    """Answers one connection; a subclass has the ``state``."""

    state: HubState
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Write nothing: ``HubServer.requests`` is the log."""

    def handle(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            super().handle()
        except ConnectionError:
            # The client went away, which is a client's right.
            self.close_connection = True

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(None)

    def do_GET(self) -> None:
        """Answer, or fail as planned."""
        self._answer(self.state.take_fault(urlsplit(self.path).path))

    def _answer(self, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.state.lock:
            self.state.requests.append(LoggedRequest(method=self.command, path=url.path, headers=headers))
        if isinstance(fault, Status):
            extra = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            self._send(fault.code, b"made to fail", extra)
            return
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[0] == "cdn":
            _, repo_id, commit, path = parts
            self._send_file(self.state.repos[repo_id].commits[commit][path], fault, {})
        elif parts[:2] == ["api", "models"]:
            self._api(parts[2:], with_blobs="blobs" in parse_qs(url.query), fault=fault)
        else:
            self._resolve(parts, fault)

    def _authorized(self) -> bool | None:
        """Return True with the token, False with another, None without one."""
        given = self.headers.get("Authorization")
        return None if given is None else given == f"Bearer {self.state.token}"

    def _repo(self, parts: list[str]) -> tuple[str, Repo, list[str]] | None:
        """Find a model that this client may see, or answer as the hub does where there is none."""
        if self._authorized() is False:
            self._error(401, None, "Invalid credentials in Authorization header")
            return None
        found = self.state.find(parts)
        if found is None or (self.state.repos[found[0]].private and not self._authorized()):
            # Without a token the hub says 401 for what is private and for what does not exist alike.
            self._error(404 if self._authorized() else 401, "RepoNotFound", "Repository not found")
            return None
        return found[0], self.state.repos[found[0]], found[1]

    def _commit(self, repo: Repo, revision: str) -> str | None:
        commit = revision if revision in repo.commits else repo.refs.get(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, parts: list[str], *, with_blobs: bool, fault: Fault | None) -> None:
        found = self._repo(parts)
        if found is None:
            return
        repo_id, repo, rest = found
        verb, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        commit = self._commit(repo, revision)
        if commit is None:
            return
        files = repo.commits[commit]
        body: object
        if verb == "tree":
            body = [{"type": "file", "path": path, **_git_facts(file, path)} for path, file in files.items()]
        else:
            siblings = [
                {"rfilename": path, **(_git_facts(file, path) if with_blobs else {})} for path, file in files.items()
            ]
            body = {
                "_id": "0",
                "id": repo_id,
                "modelId": repo_id,
                "sha": commit,
                "private": repo.private,
                "gated": "manual" if repo.gated else False,
                "tags": [],
                "downloads": 0,
                "siblings": [_with_blob_id(sibling) for sibling in siblings],
            }
        content = json.dumps(body).encode()
        self._send_body(200, content, {"Content-Type": "application/json"}, fault)

    def _resolve(self, parts: list[str], fault: Fault | None) -> None:
        found = self._repo(parts)
        if found is None:
            return
        repo_id, repo, rest = found
        if len(rest) < 3 or rest[0] != "resolve":
            self._error(404, "EntryNotFound", "Not found")
            return
        if repo.gated and not self._authorized():
            self._error(401, "GatedRepo", "Access to this model is restricted")
            return
        commit = self._commit(repo, rest[1])
        if commit is None:
            return
        path = "/".join(rest[2:])
        file = repo.commits[commit].get(path)
        if file is None:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        facts = {"X-Repo-Commit": commit, "ETag": f'"{file.digest}"', "X-Linked-Size": str(file.size_bytes)}
        if self.state.cdn_url is not None and path.endswith(LARGE):
            location = f"{self.state.cdn_url}/cdn/{_quoted(repo_id)}/{commit}/{_quoted(path)}"
            self._send(302, b"", {**facts, "X-Linked-ETag": f'"{file.digest}"', "Location": location})
            return
        self._send_file(file, fault, facts)

    def _send_file(self, file: File, fault: Fault | None, facts: dict[str, str]) -> None:
        range_asked = self.headers.get("Range")
        if range_asked is None or isinstance(fault, IgnoreRange):
            self._send_body(200, file.read(0), {**facts, "Accept-Ranges": "bytes"}, fault)
            return
        start = int(range_asked.removeprefix("bytes=").partition("-")[0])
        if start >= file.size_bytes:
            self._send(416, b"", {"Content-Range": f"bytes */{file.size_bytes}"})
            return
        span = f"bytes {start}-{file.size_bytes - 1}/{file.size_bytes}"
        self._send_body(206, file.read(start), {**facts, "Content-Range": span}, fault)

    def _error(self, status: int, code: str | None, message: str, extra: dict[str, str] | None = None) -> None:
        coded = {} if code is None else {"X-Error-Code": code}
        self._send(status, message.encode(), {**coded, "X-Error-Message": message, **(extra or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._send_body(status, body, headers, None)

    def _send_body(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        """Answer, with the fault where the body goes wrong."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(fault, Garble):
            body = bytes([body[0] ^ 0xFF]) + body[1:]
        if isinstance(fault, Cut | Silence):
            self._write(body[: fault.after_bytes], _CHUNK_BYTES, 0.0)
            self._stop(fault)
        elif isinstance(fault, Drip):
            self._write(body, fault.chunk_bytes, fault.pause_s)
        else:
            self._write(body, _CHUNK_BYTES, 0.0)

    def _write(self, body: bytes, chunk_bytes: int, pause_s: float) -> None:
        for start in range(0, len(body), chunk_bytes):
            self.wfile.write(body[start : start + chunk_bytes])
            self.wfile.flush()
            if pause_s and self.state.closing.wait(pause_s):
                return

    def _stop(self, fault: Cut | Silence) -> None:
        self.close_connection = True
        if isinstance(fault, Silence):
            self.state.closing.wait(fault.seconds)
        elif fault.reset:
            # The client must have read what was sent before the reset throws the rest away.
            time.sleep(0.2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _git_facts(file: File, path: str) -> dict[str, object]:
    """Describe a file as the hub's tree does; a large one has the SHA-256 of its bytes in its LFS part."""
    if not path.endswith(LARGE):
        return {"oid": file.digest, "size": file.size_bytes}
    lfs = {"oid": file.digest, "size": file.size_bytes, "pointerSize": 134}
    return {"oid": file.digest[:40], "size": file.size_bytes, "lfs": lfs}


def _with_blob_id(sibling: dict[str, object]) -> dict[str, object]:
    """Rename what the model's own page calls otherwise than the tree does."""
    renamed = {("blobId" if key == "oid" else key): value for key, value in sibling.items()}
    lfs = renamed.get("lfs")
    if isinstance(lfs, dict):
        renamed["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return renamed


def _quoted(path: str) -> str:
    return path.replace("/", "%2F")
