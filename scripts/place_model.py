"""Copy the model of an installed package into a folder of plain files: ``place_model.py DISTRIBUTION FOLDER``.

Ingrain reads local models below one directory and follows no links out of it, so the files are copied.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
from pathlib import Path


def model_folder(distribution: str) -> Path:
    """Find the folder of a distribution that holds a sentence-transformers model.

    Args:
        distribution: Name of the installed package. It is not imported.

    Returns:
        The folder with ``modules.json``.

    Raises:
        SystemExit: The package is not installed, or carries no such folder.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise SystemExit(f"{distribution} is not installed; run `make install`") from error
    for file in files:
        if file.name == "modules.json":
            return Path(str(file.locate())).parent
    raise SystemExit(f"{distribution} holds no modules.json, so it carries no sentence-transformers model")


def place(source: Path, target: Path) -> None:
    """Copy a model folder; the target appears at once and whole, or not at all.

    Args:
        source: Folder to copy.
        target: Folder to create; left alone if it is there.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    unfinished.rename(target)


def main() -> None:
    """Read the command line and place the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("distribution")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    place(model_folder(arguments.distribution), arguments.folder)


if __name__ == "__main__":
    main()
