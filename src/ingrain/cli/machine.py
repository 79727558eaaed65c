"""Queries of the machine for `ingrain doctor`: packages, ports, memory, GPUs."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

TIMEOUT_S = 5.0


def packages_of(extra: str) -> Iterator[str]:
    """Yield the packages of one of Ingrain's extras, from the installed metadata."""
    for requirement in importlib.metadata.requires("ingrain") or []:
        text, _, marker = requirement.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", text.strip())
        # An extra that includes another one lists it as a package: ingrain[serve].
        if name and name[0].lower() != "ingrain" and re.search(rf"extra == ['\"]{extra}['\"]", marker):
            yield name[0]


def is_installed(package: str) -> bool:
    """Return True if a package, or a package that replaces it, is installed."""
    names = (package, "onnxruntime-gpu") if package == "onnxruntime" else (package,)
    return any(next(iter(importlib.metadata.distributions(name=name)), None) is not None for name in names)


def listens(address: str) -> bool:
    """Return True if a server listens at ``host:port``."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False


def places_of(address: str) -> list[str]:
    """Return the addresses behind ``host:port`` of which each may be a server; those of IPv4 if there are any."""
    host, _, port = address.rpartition(":")
    try:
        lines = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError, UnicodeError):
        return [address]  # a connection fails, too
    places = sorted({f"{line[4][0]}:{port}" for line in lines if line[0] == socket.AF_INET})
    return places if len(places) > 1 else [address]


def why_not_bound(host: str, port: int) -> str | None:
    """Return why a port cannot be bound, or None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def memory_bytes() -> int | None:
    """Return the available memory that the kernel reports; None if it reports none."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def gpus() -> list[str]:
    """Return the GPUs that nvidia-smi lists, with their memory."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
