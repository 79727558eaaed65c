"""What stands here for the two images: Ingrain's from this tree, Triton's from the wheel of nvidia-pytriton."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dockerfile_parse import DockerfileParser

from ingrain.engine.embedded.tritonserver import environment, find_files
from pods.rendered import ROOT

PLACE = Path("/image")
"""Where containers see the programs of both images."""
_BACKEND = ROOT / "tests" / "support" / "onnxruntime_backend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as processes of this machine.

    Attributes:
        entrypoint: Words before a container's arguments.
        environment: Variables of the image.
    """

    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]


def make_images(folder: Path) -> dict[str, Image]:
    """Write the programs of both images into a folder, which containers see at ``PLACE``.

    Returns:
        The images by the last word of their names in the rendered pods, before the tag.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    path = os.pathsep.join([f"{PLACE}/bin", str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    _script(programs / "ingrain", f'exec {sys.executable} -m ingrain "$@"')
    _script(programs / "ingrain-entrypoint", f'exec sh {ROOT / "docker" / "entrypoint.sh"} "$@"')
    dockerfile = DockerfileParser(str(ROOT / "Dockerfile"))
    declared = _declared(dockerfile)
    ingrain = Image(
        entrypoint=("ingrain-entrypoint", "ingrain"),
        environment={**declared, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
    )
    return {"ingrain": ingrain, "tritonserver": _triton(programs, folder, path)}


def _declared(dockerfile: DockerfileParser) -> dict[str, str]:
    """Return the variables of the stage `runtime`."""
    found: dict[str, str] = {}
    stage = ""
    for step in dockerfile.structure:
        if step["instruction"] == "FROM":
            stage = step["value"].rpartition(" AS ")[2]
        elif step["instruction"] == "ENV" and stage == "runtime":
            found |= dict(word.split("=", 1) for word in step["value"].split())
    return found


def _triton(programs: Path, folder: Path, path: str) -> Image:
    files = find_files()
    assert not isinstance(files, str), files
    backends = folder / "backends"
    (backends / "python").mkdir(parents=True)
    for file in files.python_backend:
        shutil.copy(file, backends / "python")
    shutil.copytree(_BACKEND, backends / "onnxruntime")
    _script(programs / "tritonserver", f'exec {files.executable} --backend-directory={PLACE}/backends "$@"')
    variables = environment(files)
    packages = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return Image(
        entrypoint=(),
        environment={"PATH": path, "LD_LIBRARY_PATH": variables["LD_LIBRARY_PATH"], "PYTHONPATH": packages},
    )


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
    path.chmod(0o755)
