"""Write the synchronous client: ``client/aio.py`` without ``async`` and ``await``.

``make docs`` runs it, and a test compares the result. Only the asynchronous client is written by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "src" / "ingrain" / "client"
HEAD = '"""The client for programs without an event loop. Written by `make docs` from ``aio.py``; change that one."""'
WORDS = {
    r"ingrain\.client\.async_transport": "ingrain.client.sync_transport",
    r"\bAsync(Client|Model|Iterator|Texts|Pictures)\b": r"\1",
    r"\bAsyncTransport\b": "SyncTransport",
    r"\b__aenter__\b": "__enter__",
    r"\b__aexit__\b": "__exit__",
    r"\baclos(e|ing)\b": r"clos\1",
    r"\b(async|await) ": "",
}


def sync_source(source: str) -> str:
    """Return the synchronous form of an asynchronous module, formatted."""
    for pattern, word in WORDS.items():
        source = re.sub(pattern, word, source)
    source = HEAD + source[source.index('"""', 3) + 3 :]
    # Shorter names change the order of imports and the line breaks, and `with` and `async with` can be joined.
    for command in (["check", "--select", "I,SIM117", "--fix", "--quiet"], ["format", "--quiet"]):
        ruff = Path(sys.executable).with_name("ruff")
        arguments = [str(ruff), *command, "--stdin-filename", str(FOLDER / "sync.py"), "-"]
        source = subprocess.run(arguments, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main() -> None:
    """Write ``client/sync.py``."""
    target = FOLDER / "sync.py"
    target.write_text(sync_source((FOLDER / "aio.py").read_text("utf-8")), "utf-8")
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
