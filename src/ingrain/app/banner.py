"""Prints progress and, when the server is ready, its addresses and a first request to try."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys

from tqdm import tqdm

from ingrain.registry.status import ModelStatus
from ingrain.server.plane.readiness import reasons_not_ready
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings
from ingrain.vocabulary import Task

log = logging.getLogger("ingrain.server")

_LOOK_EVERY_S = 0.25
_LOG_EVERY_S = 10.0
_TEXTS = '"text": ["A cat sleeps.", "A kitten naps.", "Stocks fell."]'
_EXAMPLES: dict[Task, tuple[str, str]] = {
    "embed": ("embed_text", _TEXTS),
    "embed_tokens": ("embed_tokens", _TEXTS),
    "embed_sparse": ("embed_sparse", _TEXTS),
    "embed_multi_vector": ("embed_multi_vector", _TEXTS),
    "classify": ("classify_text", _TEXTS),
    "rerank": ("rerank", '"query": "Who sleeps?", "documents": ["A cat naps.", "Stocks fell."]'),
}
"""The route and the fields of a request to try, by a model's task."""


async def announce(settings: Settings, services: ModelServices, listeners: list[socket.socket]) -> None:
    """Wait until the server is ready, then print its addresses and an example request."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if not await reasons_not_ready(services):
            break
    ready = [status for status in services.registry.statuses() if status.state == "READY"]
    console = settings.console
    urls, names = plane_urls(settings, listeners), [status.name for status in ready]
    if settings.log_format == "json":
        log.info("Ingrain is ready: inference plane %s, model plane %s", *urls)
    else:
        say(_text(urls, names, _example(ready), console=console))


async def watch_progress(services: ModelServices) -> None:
    """Show a progress bar for each long phase of an export on a terminal; elsewhere log a line every few seconds."""
    if not sys.stderr.isatty():
        await _log_progress(services)
    with contextlib.ExitStack() as bars:
        shown: dict[tuple[str, str], tqdm] = {}
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            found = services.registry.progress()
            current = {(name, progress.phase): progress for name, progress in found if progress.total}
            for key in set(shown) - set(current):
                shown.pop(key).close()
            for key, progress in current.items():
                if key not in shown:
                    label = f"{key[0]}: {key[1]}"
                    scale = progress.unit == "bytes"
                    bar = tqdm(total=progress.total, desc=label, unit=progress.unit, unit_scale=scale, leave=False)
                    shown[key] = bars.enter_context(bar)
                shown[key].total = progress.total
                shown[key].n = progress.done
                shown[key].refresh()


async def _log_progress(services: ModelServices) -> None:
    while True:
        await asyncio.sleep(_LOG_EVERY_S)
        for slot in services.registry.slots:
            if slot.progress is not None:
                log.info("Model %r: %s", slot.ref.name, slot.describe_progress())


def say(text: str) -> None:
    """Print a text to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plane_urls(settings: Settings, listeners: list[socket.socket]) -> list[str]:
    """Return the URLs of the inference plane and the model plane on this machine."""
    scheme = "http" if settings.tls_cert_file is None else "https"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return [f"{scheme}://{host}:{listener.getsockname()[1]}" for listener in listeners]


def _example(ready: list[ModelStatus]) -> tuple[str, str] | None:
    """Return the route and the body of a request to the first loaded model that takes texts; None without one."""
    for status in ready:
        if status.library != "timm":
            route, fields = _EXAMPLES[status.task]
            return route, f'{{"name": "{status.name}", {fields}}}'
    return None


def _text(urls: list[str], ready: list[str], example: tuple[str, str] | None, *, console: bool) -> str:
    inference, model = urls
    lines = ["", f"Ingrain is ready: inference plane {inference}, model plane {model}, documentation {inference}/docs."]
    if console:
        lines.append(f"Open {model}/ui in a browser to load models and to try them.")
    if ready:
        loaded = f"Loaded: {', '.join(ready)}."
        if example is None:
            lines.append(loaded)
        else:
            route, body = example
            lines += [
                f"{loaded} Try:",
                "",
                f"  curl -s {inference}/{route} -H 'Content-Type: application/json' \\",
                f"    -d '{body}'",
            ]
    else:
        lines += [
            "No model is loaded yet. Try:",
            "",
            f"  curl -s {model}/load_model -H 'Content-Type: application/json' \\",
            """    -d '{"name": "sentence-transformers/all-MiniLM-L6-v2", "library": "sentence_transformers"}'""",
        ]
    return "\n".join([*lines, ""])
