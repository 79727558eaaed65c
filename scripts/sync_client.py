"""Write the synchronous client: ``client/aio.py`` with the words of an event loop taken out.

``make docs`` runs it; a test compares. One of the two is written by hand, so that they cannot come to differ.
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
    # The names of modules have changed, and with them the order of imports and the length of lines; two `with` that
    # were of different kinds no longer are.
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
