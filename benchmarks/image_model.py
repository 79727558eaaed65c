"""Writes the model of the image benchmark into a folder: the real EfficientNet-Lite0 from an installed package."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

NAME = "tf_efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    target = parser.parse_args().models_dir / NAME
    if not target.exists():
        from tiny_timm import build_efficientnet_lite0

        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            build_efficientnet_lite0(Path(scratch) / NAME).rename(target)
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
