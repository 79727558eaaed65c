"""Write the pictures of docs/first-session.md: a real server in a real browser (`make screenshots`).

Needs Chromium (Debian's package); without it nothing is written, and the program says so. No hub is needed:
all-MiniLM-L6-v2 comes from its package, and the reranker is trained on the spot (a minute).
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from processes import MINILM, place_minilm, serve
from torch_process import torch_pool
from trained_reranker import RERANKER, build_trained_reranker

WIDTH, HEIGHT = 1100, 760
COLOURS = 128
WAIT_MS = 600_000.0
COMPARED = "A cat sleeps.\nA kitten naps.\nThe river runs to the sea.\nWater flows to the ocean.\nStocks fell."


def main() -> int:
    """Read the command line, and write the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    folder: Path = parser.parse_args().folder
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print("No picture is written: it needs Chromium (apt-get install chromium).")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary) / "models"
        models.mkdir()
        place_minilm(models)
        with torch_pool() as pool:
            pool.submit(build_trained_reranker, folder=models / RERANKER).result()
        flags = ("--local-models-dir", str(models), "--models", MINILM, "--engine", "onnxruntime")
        with serve(Path(temporary) / "server", *flags) as server, sync_playwright() as playwright:
            server.wait_until_ready(600)
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.set_default_timeout(WAIT_MS)
            session(page, server.inference, server.model, lambda name: keep(page, folder / f"{name}.png"))
            chromium.close()
    return 0


def session(page: Any, inference: str, model: str, keep_as: Callable[[str], None]) -> None:
    """Do what docs/first-session.md says, and keep a picture after each step."""
    page.goto(f"{model}/ui")
    page.wait_for_selector(f"td:has-text('{MINILM}')")
    page.get_by_label("Name").fill(RERANKER)
    page.click("button:text-is('Load')")
    page.wait_for_selector("progress")
    keep_as("console-load")
    page.wait_for_selector(f"[aria-label='Unload {RERANKER}']")
    view(page, "Try", "button:text-is('Run')", "text=dimensions", keep_as)
    view(page, "Similarity", "text=Compare", ".heat", keep_as, COMPARED)
    view(page, "Search", "button:text-is('Search')", "h3:has-text('By the reranker')", keep_as)
    page.goto(f"{inference}/docs")
    block = page.locator("#operations-Ingrain-embed_text")
    block.locator(".opblock-summary-control").click()
    block.locator("button.execute").click()
    block.locator(".live-responses-table .response").wait_for()
    block.scroll_into_view_if_needed()
    keep_as("docs-form")


def view(page: Any, name: str, button: str, shown: str, keep_as: Callable[[str], None], text: str = "") -> None:
    """Open a view of the console, press its button, and wait for what it shows."""
    page.click(f"nav >> text={name}")
    page.wait_for_selector("main h2")
    if text:
        page.fill("textarea", text)
    page.click(button)
    page.wait_for_selector(shown)
    keep_as(f"console-{name.lower()}")


def keep(page: Any, path: Path) -> None:
    """Write what the page shows, with few colours: a file of some tens of kilobytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
