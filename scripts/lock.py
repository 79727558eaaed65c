"""Resolve every requirement of the project and write the versions to requirements/constraints.txt.

Run it with the Python that the project is developed on (``make lock``): the result holds what pip picks for that
interpreter and platform. Nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
HEADER = """\
# Every version that Ingrain is developed and tested with, resolved on Python {python}. Written by `make lock`.
"""


def resolve() -> dict[str, str]:
    """Ask pip which versions it would install into an empty environment.

    Returns:
        Version by normalized package name, without Ingrain itself. A local version label (``+cpu``) is dropped, so
        that the constraint holds for every build of that version.

    Raises:
        subprocess.CalledProcessError: pip found no set of versions that fits; it has said why on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        report_path = Path(folder) / "report.json"
        # A fixed list of arguments, run by the interpreter that runs this file.
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--dry-run", "--ignore-installed"),
                *("--report", str(report_path), "--constraint", str(REQUIREMENTS / "pins.txt")),
                *("--requirement", str(REQUIREMENTS / "dev.txt"), f"{ROOT}[all]"),
            ],
            check=True,
        )
        report = json.loads(report_path.read_text(encoding="utf-8"))
    found = (item["metadata"] for item in report["install"])
    versions = {meta["name"].lower().replace("_", "-"): meta["version"].partition("+")[0] for meta in found}
    versions.pop("ingrain")
    return versions


def main() -> None:
    """Write the constraints file and say how many packages it pins."""
    versions = resolve()
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    python = ".".join(map(str, sys.version_info[:2]))
    target = REQUIREMENTS / "constraints.txt"
    target.write_text(HEADER.format(python=python) + "".join(lines), encoding="utf-8")
    print(f"{target.relative_to(ROOT)}: {len(lines)} packages")


if __name__ == "__main__":
    main()
