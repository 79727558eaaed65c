"""HAProxy as the services: one frontend for each port, and the pods that are ready behind it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pods.container import wait_for
from pods.network import new_address, take
from pods.rendered import Object

_PLACES = 8
"""Pods that a service can have at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service.

    Attributes:
        name: Its name.
        address: Its address; a headless one does not use it.
        is_headless: Whether its name leads to the pods themselves.
        selector: Labels of its pods.
        ports: Its ports and those of the pods.
    """

    name: str
    address: str
    is_headless: bool
    selector: Mapping[str, str]
    ports: Mapping[int, int]

    @staticmethod
    def of(given: Object) -> Service:
        """Return a rendered Service. Its ports have the same numbers in the pods; a test holds that."""
        return Service(
            name=given["metadata"]["name"],
            address=new_address(),
            is_headless=given["spec"].get("clusterIP") == "None",
            selector=given["spec"]["selector"],
            ports={port["port"]: port["port"] for port in given["spec"]["ports"]},
        )


class Proxy:
    """A running HAProxy that passes on connections, as kube-proxy does."""

    def __init__(self, folder: Path, services: Sequence[Service]) -> None:
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert program is not None, "haproxy is not installed"
        self._socket = folder / "haproxy.sock"
        self._lock = threading.Lock()
        self._backends: dict[str, list[str]] = {}
        lines = ["global", f"  stats socket {self._socket} level admin", "defaults", "  mode tcp"]
        lines += ["  timeout connect 2s", "  timeout client 10m", "  timeout server 10m", "  retries 0"]
        for service in services:
            take(service.address)
            for port in service.ports:
                lines += [f"listen {service.name}-{port}", f"  bind {service.address}:{port}", "  balance roundrobin"]
                lines += [f"  server s{n} 127.0.0.9:1 disabled" for n in range(_PLACES)]
        (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        with (folder / "haproxy.log").open("wb") as log:
            self._process = subprocess.Popen([program, "-f", folder / "haproxy.cfg"], stdout=log, stderr=log)
        wait_for("start of haproxy", self._socket.exists, 20)

    def set_backends(self, service: Service, addresses: Sequence[str]) -> None:
        """Pass connections to these pods from now on; those that are open stay."""
        with self._lock:
            places = self._backends.setdefault(service.name, [""] * _PLACES)
            gone = [n for n, address in enumerate(places) if address and address not in addresses]
            new = [address for address in addresses if address not in places]
            for n in gone:
                self._tell(f"set server {service.name}-%d/s{n} state drain", service)
                places[n] = ""
            for address in new:
                n = places.index("")
                for port, target in service.ports.items():
                    self._say(f"set server {service.name}-{port}/s{n} addr {address} port {target}")
                self._tell(f"set server {service.name}-%d/s{n} state ready", service)
                places[n] = address

    def _tell(self, command: str, service: Service) -> None:
        for port in service.ports:
            self._say(command % port)

    def _say(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(self._socket))
            one.sendall(command.encode() + b"\n")
            while one.recv(4096):
                pass

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
