"""Downloads the wheels that ``gpu.py`` installs on a machine without a network, and prints their sizes.

Run it on a machine with PyPI; everything else is for the machine with the GPU. CUDA's and cuDNN's libraries are 1.3 of
1.6 GB. Leave them out with ``--no-cuda`` where PyTorch for CUDA 13 is installed, which brings the same libraries.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_RUNTIME = "1.31.1"
"""Version of onnxruntime-gpu; the newest, which is not always that of onnxruntime."""
_TOOLS = ("onnx", "onnx-ir", "onnxscript")  # write the fused graphs and those in half precision
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (39, 38, 35, 34, 31, 28, 27, 24, 17)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)
_PART = re.compile(r"\.whl\.\d{3}$")


def main() -> None:
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-input", "--only-binary=:all:"),
        *(f"--dest={options.folder}", f"--python-version={options.python_version}", "--implementation=cp"),
        *(f"--platform={platform}" for platform in _PLATFORMS),
        f"--constraint={_ROOT / 'requirements' / 'constraints.txt'}",
    ]
    # Of the package with tritonserver only the programs are used, none of its Python code.
    subprocess.run([*command, "--no-deps", "nvidia-pytriton"], check=True)
    subprocess.run([*command, *requirements(with_cuda=not options.no_cuda)], check=True)
    sizes = {file.name: file.stat().st_size for file in options.folder.glob("*.whl")}
    for name, size in sorted(sizes.items(), key=lambda entry: -entry[1]):
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{sum(sizes.values()) / 1e6:8.1f} MB  in {len(sizes)} wheels")
    if options.part_mb:
        split(options.folder, options.part_mb * 1_000_000)


def requirements(*, with_cuda: bool) -> list[str]:
    """Return what the server and the tools for graphs need, with ONNX Runtime for GPUs in place of the one for CPUs."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    own = (*project["dependencies"], *project["optional-dependencies"]["serve"])
    others = [one for one in own if not one.startswith("onnxruntime")]
    return [*others, *_TOOLS, f"onnxruntime-gpu{'[cuda,cudnn]' if with_cuda else ''}=={_RUNTIME}"]


def split(folder: Path, part_bytes: int) -> None:
    """Replace each larger wheel by numbered parts, for a machine that takes only small files."""
    for wheel in folder.glob("*.whl"):
        if wheel.stat().st_size <= part_bytes:
            continue
        with wheel.open("rb") as whole:
            for number, part in enumerate(iter(lambda: whole.read(part_bytes), b"")):
                wheel.with_name(f"{wheel.name}.{number:03}").write_bytes(part)
        wheel.unlink()


def join(folder: Path) -> None:
    """Put the parts of wheels together again."""
    for part in sorted(folder.iterdir()):
        if _PART.search(part.name):
            with part.with_suffix("").open("ab") as whole:
                whole.write(part.read_bytes())
            part.unlink()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python-version", default="3.12", help="of the machine with the GPU")
    parser.add_argument("--no-cuda", action="store_true", help="without CUDA's and cuDNN's libraries")
    parser.add_argument("--part-mb", type=int, default=0, help="split larger wheels into parts of so many megabytes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
