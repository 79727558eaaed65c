"""Write the index of the models that OpenCLIP and timm have published, from the installed libraries.

``make docs`` runs it, and a test compares the result.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

from ingrain.export.process import torchvision_shim
from ingrain.sources.published_names import DISTRIBUTIONS, INDEX_FOLDER, clip_names_of_library, timm_names_of_library


def index_of(library: str, names: dict[str, Any]) -> str:
    """Return the text of an index, one name a line."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in names.items())
    version = json.dumps(importlib.metadata.version(DISTRIBUTIONS[library]))
    return f'{{"version": {version}, "names": {{\n{lines}\n}}}}\n'


def indexes() -> dict[str, str]:
    """Return the text of every index by library; imports the libraries."""
    torchvision_shim.install()
    names = {"open_clip": clip_names_of_library(), "timm": timm_names_of_library()}
    return {library: index_of(library, found) for library, found in names.items()}


def main() -> None:
    """Write the indexes."""
    for library, text in indexes().items():
        path = INDEX_FOLDER / f"{library}.json"
        path.write_text(text, "utf-8")
        print(f"wrote {path.parent.name}/{path.name}")


if __name__ == "__main__":
    main()
