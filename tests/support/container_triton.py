"""A tritonserver with the options of the published Compose file, and with a backend called ``onnxruntime``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ingrain.engine.embedded.tritonserver import environment, find_files

BACKEND = Path(__file__).with_name("onnxruntime_backend")
OPTIONS = ("--model-control-mode=explicit",)
"""What the published file gives besides the repository."""


class ContainerTriton:
    """A tritonserver that nobody restarts.

    Args:
        root: Triton's model repository.
        folder: An empty folder for backends and log.
        port: Port of gRPC on the loopback.
        options: Options besides those that a container needs not: ports, addresses and the folder of backends.
        metrics: Whether it serves metrics; the options then say where.
    """

    def __init__(
        self, root: Path, folder: Path, port: int, options: tuple[str, ...] = OPTIONS, *, metrics: bool = False
    ) -> None:
        files = find_files()
        assert not isinstance(files, str), files
        self.log = folder / "triton.log"
        backends = folder / "backends"
        (backends / "python").mkdir(parents=True, exist_ok=True)
        # Copies: Triton refuses a backend in Python whose library is a link to somewhere else.
        for path in files.python_backend:
            shutil.copy(path, backends / "python")
        shutil.copytree(BACKEND, backends / "onnxruntime")
        self._command = [
            os.fspath(files.executable),
            f"--model-repository={root}",
            *options,
            f"--backend-directory={backends}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            "--allow-http=false",
            f"--allow-metrics={str(metrics).lower()}",
        ]
        self._environment = environment(files)
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> ContainerTriton:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
