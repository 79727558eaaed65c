"""A network of the pods' own: a bridge in this process's network namespace, and a link to it for each pod."""

from __future__ import annotations

import os
import subprocess
from itertools import count
from pathlib import Path

from pods.container import wait_for

_NUMBERS = count(2)


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def make_bridge() -> None:
    """Make the bridge; this process is at 10.90.0.1. Only in a network namespace that nobody else uses."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "name", "pods", "type", "bridge")
    ip("address", "add", "10.90.0.1/16", "dev", "pods")
    ip("link", "set", "pods", "up")


def new_address() -> str:
    """Return an address that nobody has yet."""
    number = next(_NUMBERS)
    return f"10.90.{number // 250}.{number % 250 + 1}"


def take(address: str) -> None:
    """Give this process a further address: that of a service."""
    ip("address", "add", f"{address}/16", "dev", "pods")


class Network:
    """The network namespace of a pod, with one address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.pid = self._holder.pid
        name = "p" + address.replace(".", "")[4:]
        # Until it has its namespace, the link would be this process's own.
        wait_for("the network of a pod", lambda: _namespace(self.pid) != _namespace(os.getpid()), 20, every=0.01)
        ip("link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        ip("link", "set", name, "master", "pods", "up")
        self._inside("link", "set", "lo", "up")
        self._inside("address", "add", f"{address}/16", "dev", "eth0")
        self._inside("link", "set", "eth0", "up")

    def _inside(self, *words: str) -> None:
        enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net"]
        subprocess.run([*enter, "ip", *words], check=True, capture_output=True)

    def close(self) -> None:
        """Remove it."""
        self._holder.kill()
        self._holder.wait()


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())
