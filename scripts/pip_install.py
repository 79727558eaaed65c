"""Run ``pip install`` and show how far it is: ``pip_install.py "[2/5] PyTorch" ARGUMENTS...``.

On a terminal the last line is rewritten; elsewhere there is a line for each package that is downloaded. Packages that
are there already are not mentioned.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

FETCH = re.compile(r"(Downloading|Using cached|Processing) (?:\S*/)?(\S+?)(?: \((.+)\))?(?: \(from .*)?$")
PROGRESS = re.compile(r"Progress (\d+) of (\d+)$")
INSTALL = re.compile(r"Installing collected packages: (.+)$")
LARGE_BYTES = 20_000_000
TELL_EVERY_S = 10.0


def notes(lines: Iterable[str]) -> Iterator[str]:
    """Yield what is worth showing of what ``pip install --progress-bar raw`` prints."""
    what, tenths = "", 0
    for line in map(str.strip, lines):
        if found := PROGRESS.match(line):
            done, total = map(int, found.groups())
            # Of a small package the beginning says enough.
            if total >= LARGE_BYTES and (now := 10 * done // total) > tenths:
                tenths = now
                yield f"downloading {what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
        elif line.endswith(".metadata") or ".metadata (" in line:
            continue
        elif found := FETCH.match(line):
            tenths = 0
            what = re.sub(r"-(cp|py)\d.*$|\.tar\.gz$", "", found[2])
            verb = "downloading" if found[1] == "Downloading" else "reading"
            yield f"{verb} {what} ({found[3]})" if found[3] and found[3][0].isdigit() else f"{verb} {what}"
        elif found := INSTALL.match(line):
            count = found[1].count(",") + 1
            yield f"installing {count} packages" if count > 1 else f"installing {found[1]}"


def tell_installed(ended: threading.Event, text: str, end: str) -> None:
    """Say every few seconds how many packages pip, which is silent about that, has put in place."""
    folder = Path(sysconfig.get_path("purelib"))
    before = len(list(folder.glob("*.dist-info")))
    while not ended.wait(TELL_EVERY_S):
        print(f"{text}: {len(list(folder.glob('*.dist-info'))) - before} done", end=end, flush=True)


def main(step: str, arguments: list[str]) -> int:
    """Run pip; return its exit status. What it complains about goes to standard error as it comes."""
    print(f"{step} ...", flush=True)
    # Older ones cannot say in a pipe how far a download is: then its size has to do.
    bar = "raw" if tuple(map(int, version("pip").split(".")[:2])) >= (24, 1) else "off"
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", bar, "--no-input"]
    command += ["--disable-pip-version-check", *arguments]
    start, end = ("\r\033[K      ", "") if sys.stdout.isatty() else ("      ", "\n")
    ended = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace") as process:
        assert process.stdout is not None
        for note in notes(process.stdout):
            print(f"{start}{note}", end=end, flush=True)
            if note.startswith("installing"):
                told = (ended, f"{start}{note}", end)
                threading.Thread(target=tell_installed, args=told, daemon=True).start()
    ended.set()
    if not end:
        print("\r\033[K", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
