"""Compare our pixels with OpenCLIP's and timm's on every file of a folder: `make pixels`, on Pillow's own test suite.

Without a folder, the source of the installed Pillow is fetched by pip, and its Tests/images are taken. For each file
either both give pixels, which are compared bit for bit, or both refuse. Files that Ingrain refuses for a documented
limit or format are counted apart. Exits with an error for anything else.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import PIL
from PIL import Image

from image_parity import Case, Outcome, cases, compare
from ingrain.preprocess.image_formats import heic_is_read

# One for each way of resizing; the test suite covers all of them.
CASES = (
    "open_clip shortest bicubic 224",
    "open_clip longest bilinear 256",
    "open_clip squash bicubic (224, 320)",
    "timm center 0.875 bicubic 224x224",
    "timm squash 0.9 bilinear 256x192",
    "timm border 0.95 bicubic 224x224",
)


def pillow_images(folder: Path) -> Path:
    """Return the folder of pictures of the installed Pillow's source, fetched below ``folder`` once."""
    name = f"pillow-{PIL.__version__}"
    images = folder / name / "Tests" / "images"
    if not images.is_dir():
        command = [sys.executable, "-m", "pip", "download", "--no-binary", "pillow", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, f"pillow=={PIL.__version__}"], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as source:
            found = [one for one in source.getmembers() if one.name.startswith(f"{name}/Tests/images/")]
            source.extractall(folder, found, filter="data")
    return images


def worst(file: Path, chosen: list[Case]) -> Outcome:
    """Return what one file gives: the first outcome that is not as it should be, else the first."""
    data = file.read_bytes()
    outcomes = [compare(case, data) for case in chosen]
    return next((outcome for outcome in outcomes if outcome.is_wrong), outcomes[0])


def main() -> int:
    """Compare, and print how many files came out how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="pictures; those of Pillow's source if not given.")
    parser.add_argument("--sources", type=Path, default=Path(".run/pixels"), help="where Pillow's source is kept.")
    parser.add_argument("--list", action="store_true", help="name every file that is not equal.")
    options = parser.parse_args()
    folder = options.folder or pillow_images(options.sources)
    warnings.simplefilter("ignore")  # Pillow's test suite has many unusual files
    Image.init()  # the libraries read whatever Pillow reads
    if heic_is_read():
        import pillow_heif

        pillow_heif.register_heif_opener()
    import torch

    torch.set_num_threads(1)
    known = {case.name: case for case in cases()}
    chosen = [known[name] for name in CASES]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    started, found = time.monotonic(), collections.defaultdict[str, list[str]](list)
    largest = 0.0
    for file in files:
        outcome = worst(file, chosen)
        largest = max(largest, outcome.difference)
        found[outcome.what].append(f"{file.relative_to(folder)}: {outcome.detail}" if outcome.detail else file.name)
        if outcome.is_wrong:
            print(f"{outcome.what}: {file.relative_to(folder)}: {outcome.detail}", flush=True)
    seconds = time.monotonic() - started
    print(f"\n{len(files)} files by {len(chosen)} transforms, {seconds:.0f} s, Pillow {PIL.__version__}")
    for what, names in sorted(found.items(), key=lambda entry: -len(entry[1])):
        print(f"{len(names):5} {what}")
        if options.list and what != "equal":
            print("".join(f"        {name}\n" for name in names), end="")
    print(f"largest difference of a normalized value: {largest:g}")
    return int(any(what.isupper() for what in found))


if __name__ == "__main__":
    raise SystemExit(main())
