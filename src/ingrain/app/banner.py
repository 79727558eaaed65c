"""Prints progress and, when the server is ready, its addresses and a first request to try."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from tqdm import tqdm

from ingrain.server.plane.readiness import reasons_not_ready
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings

_LOOK_EVERY_S = 0.25


async def announce(settings: Settings, services: ModelServices, listeners: list[socket.socket]) -> None:
    """Wait until the server is ready, then print its addresses and an example request."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if not await reasons_not_ready(services):
            break
    ready = [status.name for status in services.registry.statuses() if status.state == "READY"]
    say(_text(plane_urls(settings, listeners), ready))


async def watch_progress(services: ModelServices) -> None:
    """Show a progress bar for each long phase of an export, if stderr is a terminal."""
    if not sys.stderr.isatty():
        return
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


def say(text: str) -> None:
    """Print a text to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plane_urls(settings: Settings, listeners: list[socket.socket]) -> list[str]:
    """Return the URLs of the inference plane and the model plane on this machine."""
    scheme = "http" if settings.tls_cert_file is None else "https"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return [f"{scheme}://{host}:{listener.getsockname()[1]}" for listener in listeners]


def _text(urls: list[str], ready: list[str]) -> str:
    inference, model = urls
    lines = ["", f"Ingrain is ready: inference plane {inference}, model plane {model}, documentation {inference}/docs."]
    if ready:
        lines += [
            f"Loaded: {', '.join(ready)}. Try:",
            "",
            f"  curl -s {inference}/embed_text -H 'Content-Type: application/json' \\",
            f"""    -d '{{"name": "{ready[0]}", "text": ["A cat sleeps.", "A kitten naps.", "Stocks fell."]}}'""",
        ]
    else:
        lines += [
            "No model is loaded yet. Try:",
            "",
            f"  curl -s {model}/load_model -H 'Content-Type: application/json' \\",
            """    -d '{"name": "sentence-transformers/all-MiniLM-L6-v2", "library": "sentence_transformers"}'""",
        ]
    return "\n".join([*lines, ""])
