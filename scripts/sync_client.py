"""Write the synchronous client: the modules of ``client/aio`` with the words of an event loop taken out.

``make docs`` runs it; a test compares. One of the two is written by hand, so that they cannot come to differ.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "src" / "ingrain" / "client"
BY_HAND = {"__init__.py", "transport.py"}
WORDS = {
    r"ingrain\.client\.aio\b": "ingrain.client.sync",
    r"\bAsync(Caller|Client|Model|Iterator|Generator|Texts|Pictures)\b": r"\1",
    r"\bAsyncTransport\b": "SyncTransport",
    r"\bCoroutine\[Any, Any, (\w+)\]": r"\1",
    r"\b__aenter__\b": "__enter__",
    r"\b__aexit__\b": "__exit__",
    r"\baclos(e|ing)\b": r"clos\1",
    r"\b(async|await) ": "",
}


def sync_sources() -> dict[str, str]:
    """Return the modules of ``client/sync`` by file name."""
    names = sorted(path.name for path in (CLIENT / "aio").glob("*.py") if path.name not in BY_HAND)
    return {name: sync_source(name) for name in names}


def sync_source(name: str) -> str:
    """Return the synchronous form of an asynchronous module, formatted."""
    source = (CLIENT / "aio" / name).read_text("utf-8")
    for pattern, word in WORDS.items():
        source = re.sub(pattern, word, source)
    source = f"# Written by `make docs` from aio/{name}; change that one.\n{source}"
    # The names of modules have changed, and with them the order of imports and the length of lines; two `with` that
    # were of different kinds no longer are, nor is a `for` that only yields.
    for command in (
        ["check", "--select", "I,SIM117,F401,UP028", "--fix", "--unsafe-fixes", "--quiet"],
        ["format", "--quiet"],
    ):
        ruff = Path(sys.executable).with_name("ruff")
        arguments = [str(ruff), *command, "--stdin-filename", str(CLIENT / "sync" / name), "-"]
        source = subprocess.run(arguments, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main() -> None:
    """Write the modules."""
    for name, source in sync_sources().items():
        (CLIENT / "sync" / name).write_text(source, "utf-8")
        print(f"wrote sync/{name}")


if __name__ == "__main__":
    main()
