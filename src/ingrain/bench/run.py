"""Runs one benchmark: prepares the requests, loads the server, and returns the report."""

from __future__ import annotations

import asyncio
import base64
import datetime
import platform
import sys
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ingrain.bench.load import Answers, LoadResult, Target, closed_loop, embedding_request, open_loop
from ingrain.bench.report import summarize
from ingrain.bench.server_side import read_counts
from ingrain.bench.texts import Mix, make_texts
from ingrain.errors import EngineUnavailableError, IngrainError, SettingsError

_LOCAL = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """Options of a benchmark.

    Attributes:
        url: URL of the inference plane.
        model: Name of a loaded model.
        clients: Requests in progress in a closed loop; connections in an open loop.
        rate: Average requests per second of an open loop; None for a closed loop.
        seconds: Time during which requests are sent.
        warm_up_s: Duration of a closed loop before the measurement.
        mix: Kind of texts.
        texts: Number of distinct texts.
        texts_file: File with one text per line, for the mix ``file``.
        images: Image files to embed instead of texts.
        batch: Items per request.
        answers: Format of vectors in responses.
        cache: Whether the server may answer from its cache of vectors.
        api_key: API key with the scope ``infer``; the report has batch sizes only if it has the scope ``metrics``, too.
    """

    url: str = "http://127.0.0.1:8686"
    model: str
    clients: int = 64
    rate: float | None = None
    seconds: float = 10.0
    warm_up_s: float = 1.0
    mix: Mix = "query"
    texts: int = 20_000
    texts_file: Path | None = None
    images: Sequence[Path] = ()
    batch: int = 1
    answers: Answers = "json"
    cache: bool = False
    api_key: str | None = None


def run_bench(options: BenchOptions) -> tuple[dict[str, object], LoadResult]:
    """Put load on the server; return the report and the measurements.

    Raises:
        SettingsError: An option cannot be used.
        EngineUnavailableError: The server cannot be reached.
        IngrainError: The server refuses the first request; the message has the reason.
    """
    target = _target(options.url)
    requests = list(_requests(options))
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    with httpx.Client(
        base_url=options.url, headers=headers, timeout=120, trust_env=False, verify=target.tls or True
    ) as client:
        _try_once(client, options, requests[0])
        if options.warm_up_s > 0:
            _run(closed_loop(target, requests, clients=options.clients, seconds=options.warm_up_s))
        local = target.host in _LOCAL
        before = read_counts(client, options.model, target.port, is_local=local)
        if options.rate is None:
            result = _run(closed_loop(target, requests, clients=options.clients, seconds=options.seconds))
        else:
            result = _run(
                open_loop(target, requests, rate=options.rate, seconds=options.seconds, connections=options.clients)
            )
        after = read_counts(client, options.model, target.port, is_local=local)
    counted = after.since(before) if after is not None and before is not None else None
    return summarize(_describe(options), result, options.batch, counted), result


def _describe(options: BenchOptions) -> dict[str, object]:
    loop = (
        {"clients": options.clients} if options.rate is None else {"rate": options.rate, "connections": options.clients}
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "model": options.model,
        **loop,
        "items": "images" if options.images else f"texts, {options.mix}",
        "itemsPerRequest": options.batch,
        "answers": options.answers,
        "cache": options.cache,
    }


def _target(url: str) -> Target:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"--url is {url!r}; it must be http://HOST:PORT or https://HOST:PORT.", param="--url")
    if parts.scheme == "https":
        return Target(parts.hostname, parts.port or 443, httpx.create_ssl_context())
    return Target(parts.hostname, parts.port or 80)


def _requests(options: BenchOptions) -> Iterator[bytes]:
    if options.images:
        path, field, items = "/embed_image", "image", [_picture(image) for image in options.images]
    else:
        path, field = "/embed_text", "text"
        items = make_texts(options.mix, options.texts, file=options.texts_file)
    for first in range(0, max(1, len(items) - options.batch + 1), options.batch):
        chunk = items[first : first + options.batch]
        body = {"name": options.model, field: chunk[0] if options.batch == 1 else chunk}
        yield embedding_request(path, body, options.answers, api_key=options.api_key, cached=options.cache)


def _picture(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise SettingsError(f"The image file {path} cannot be read.", param="--images") from error


def _try_once(client: httpx.Client, options: BenchOptions, request: bytes) -> None:
    """Send the first request alone, and raise its error; all requests would have the same one."""
    head, _, body = request.partition(b"\r\n\r\n")
    try:
        answer = client.post(head.split()[1].decode(), content=body)
    except httpx.HTTPError as error:
        raise EngineUnavailableError(f"No server answers at {options.url}. Start one with `ingrain serve`.") from error
    if answer.status_code != 200:
        try:
            message = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            message = "the response has no message"
        raise IngrainError(f"The server refuses the first request ({answer.status_code}): {message}")


def _run(loop: Coroutine[object, object, LoadResult]) -> LoadResult:
    try:
        if sys.platform != "win32":
            try:
                import uvloop

                return uvloop.run(loop)  # type: ignore[no-any-return]
            except ModuleNotFoundError:
                pass  # not part of a client installation; the loop of the standard library needs a little more CPU
        return asyncio.run(loop)
    except (OSError, TimeoutError) as error:
        raise EngineUnavailableError(
            "The server closed the connections or stopped responding during the benchmark."
        ) from error
