"""Reads the manifests for KServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[2] / "deploy" / "kserve"
OBJECTS = [one for path in sorted(_FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text("utf-8"))]


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each container after the specification of its pod."""
    for one in OBJECTS:
        spec = one["spec"].get("predictor", one["spec"])
        yield from ((spec, container) for container in spec.get("containers", ()))
