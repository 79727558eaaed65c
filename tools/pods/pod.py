"""Runs one pod: its containers in their order, its probes, and its end, as a kubelet does."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pods.container import Mount, Process, as_user, enter_script, reachable_folders, wait_for
from pods.images import PLACE, Image
from pods.network import Network
from pods.rendered import ROOT, Object

_START_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What all pods share.

    Attributes:
        folder: Everything lies below it.
        images: By the last word of their names.
        secrets: Entries of Secrets by name.
        claims: Folders of PersistentVolumeClaims by name.
        hosts: The file that every pod has as /etc/hosts.
    """

    folder: Path
    images: Mapping[str, Image]
    secrets: Mapping[str, Mapping[str, str]]
    claims: Mapping[str, Path]
    hosts: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a pod ended: the exit code of each container, and the seconds from SIGTERM to the last one's end."""

    codes: Mapping[str, int | None]
    seconds: float
    grace_s: float


@dataclass(slots=True)
class _Watched:
    """A running container with its probes."""

    given: Object
    process: Process
    has_started: bool = False
    failures: dict[str, int] = field(default_factory=dict)


class Pod:
    """A pod that runs.

    Args:
        name: Its name.
        spec: Its specification, as rendered.
        address: Its address.
        node: What all pods share.

    Attributes:
        is_ready: Whether its containers run and their readiness probes succeed.
        restarts: Containers that the kubelet would have restarted, with the reason.
        liveness_failures: How often a liveness probe failed.
    """

    def __init__(self, name: str, spec: Object, address: str, node: Node) -> None:
        self.name, self.address = name, address
        self.is_ready = False
        self.restarts: list[str] = []
        self.liveness_failures = 0
        self._spec, self._node = spec, node
        self._folder = node.folder / "pods" / name
        self._folder.mkdir(parents=True)
        security = spec["securityContext"]
        self._user, self._group = security["runAsUser"], security["fsGroup"]
        self._volumes = {volume["name"]: self._volume(volume) for volume in spec.get("volumes", ())}
        self._network = Network(address)
        self._sidecars: list[_Watched] = []
        self._mains: list[_Watched] = []
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Run the containers that come first, and start the others.

        Raises:
            RuntimeError: One of the first failed.
        """
        for given in self._spec.get("initContainers", ()):
            process = self._run(given)
            if given.get("restartPolicy") == "Always":
                watched = _Watched(given, process)
                self._sidecars.append(watched)
                wait_for(f"start of {process.name}", lambda one=watched: self._has_started(one), _START_S)
            elif process.wait(_START_S) != 0:
                raise RuntimeError(f"{process.name} failed:\n{process.tail()}")
        self._mains = [_Watched(given, self._run(given)) for given in self._spec["containers"]]
        self._watcher.start()

    def finished(self, seconds: float) -> int | None:
        """Return the exit code of the first container of a pod that ends by itself."""
        return self._mains[0].process.wait(seconds)

    def output(self) -> str:
        """Return the end of what all containers have written."""
        return "\n".join(f"--- {one.process.name}\n{one.process.tail()}" for one in (*self._sidecars, *self._mains))

    def end(self) -> End:
        """End it as a kubelet does: preStop, SIGTERM, and within the grace period the sidecars after the others."""
        grace_s = float(self._spec.get("terminationGracePeriodSeconds", 30))
        self._ending.set()
        begun = time.monotonic()
        for one in self._mains:
            hook = one.given.get("lifecycle", {}).get("preStop", {})
            time.sleep(hook.get("sleep", {}).get("seconds", 0))
        told = time.monotonic()
        codes = self._stop(self._mains, begun + grace_s) | self._stop(self._sidecars[::-1], begun + grace_s)
        ended = time.monotonic()
        self._network.close()
        return End(codes=codes, seconds=ended - told, grace_s=grace_s)

    def kill(self) -> None:
        """End it at once."""
        self._ending.set()
        for one in (*self._mains, *self._sidecars):
            one.process.kill()
        self._network.close()

    def _stop(self, some: list[_Watched], deadline: float) -> dict[str, int | None]:
        codes = {}
        for one in some:
            one.process.terminate()
            code = one.process.wait(deadline - time.monotonic())
            if code is None:
                one.process.kill()
            codes[one.given["name"]] = code
        return codes

    def _run(self, given: Object) -> Process:
        name = given["name"]
        image = self._node.images[re.fullmatch(r"(?:.*/)?([\w-]+)(?:[:@].*)?", given["image"])[1]]  # type: ignore[index]
        entry = tuple(given.get("command", image.entrypoint))
        mounts = [
            Mount(source=self._volumes[one["name"]], target=one["mountPath"], read_only=one.get("readOnly", False))
            for one in given.get("volumeMounts", ())
        ]
        mounts.append(Mount(source=self._node.hosts, target="/etc/hosts", read_only=True))
        mounts.append(Mount(source=self._node.folder / "image", target=str(PLACE), read_only=True))
        (root := self._folder / f"root-{name}").mkdir()
        script = enter_script(
            root,
            mounts,
            reachable_folders(ROOT),
            read_only=given["securityContext"]["readOnlyRootFilesystem"],
        )
        return Process(
            f"{self.name}/{name}",
            self._network.pid,
            script,
            as_user(self._user, self._group),
            [*entry, *given.get("args", ())],
            {**image.environment, **self._variables(given), **self._added(given)},
            self._node.folder / f"{self.name}-{name}.log",
        )

    def _added(self, given: Object) -> dict[str, str]:
        """Return what this machine needs besides: the image has no Triton that the server could start itself."""
        names = {one["name"]: one.get("value") for one in given.get("env", ())}
        return {} if names.get("TRITON_GRPC_URL") else {"INGRAIN_ENGINE": "onnxruntime"}

    def _variables(self, given: Object) -> dict[str, str]:
        found = {}
        for one in given.get("env", ()):
            if "valueFrom" in one:
                reference = one["valueFrom"]["secretKeyRef"]
                found[one["name"]] = self._node.secrets[reference["name"]][reference["key"]]
            else:
                found[one["name"]] = one["value"]
        return found

    def _volume(self, volume: Object) -> Path:
        if "persistentVolumeClaim" in volume:
            return self._node.claims[volume["persistentVolumeClaim"]["claimName"]]
        folder = self._folder / volume["name"]
        folder.mkdir(mode=0o755)
        if "secret" in volume:
            entries = self._node.secrets[volume["secret"]["secretName"]]
            items = volume["secret"].get("items") or [{"key": key, "path": key} for key in entries]
            for item in items:
                path = folder / item["path"]
                path.write_text(entries[item["key"]], "utf-8")
                own(path, self._group, volume["secret"]["defaultMode"])
            return folder
        if volume["emptyDir"].get("medium") == "Memory":
            size = volume["emptyDir"]["sizeLimit"].removesuffix("i")
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "memory", folder], check=True)
        own(folder, self._group, 0o2775)
        return folder

    # --- probes --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        due: dict[tuple[int, str], float] = {}
        while not self._ending.wait(0.1):
            every = [*self._sidecars, *self._mains]
            for number, one in enumerate(every):
                if not one.has_started:
                    one.has_started = self._has_started(one)
                    continue
                for kind in ("livenessProbe", "readinessProbe"):
                    probe = one.given.get(kind)
                    if probe is None or due.get((number, kind), 0.0) > time.monotonic():
                        continue
                    due[number, kind] = time.monotonic() + probe["periodSeconds"]
                    self._count(one, kind, probe)
            self.is_ready = all(self._is_well(one) for one in every)

    def _is_well(self, one: _Watched) -> bool:
        if one.process.code() is not None or not one.has_started:
            return False
        probe = one.given.get("readinessProbe")
        return probe is None or one.failures.get("readinessProbe", 1) == 0

    def _count(self, one: _Watched, kind: str, probe: Object) -> None:
        if self._ask(one, probe):
            one.failures[kind] = 0
            return
        one.failures[kind] = one.failures.get(kind, 0) + 1
        if kind == "livenessProbe":
            self.liveness_failures += 1
            if one.failures[kind] == probe["failureThreshold"]:
                self.restarts.append(f"{one.process.name}: {kind}")

    def _has_started(self, one: _Watched) -> bool:
        if one.process.code() is not None:
            raise RuntimeError(f"{one.process.name} ended with {one.process.code()}:\n{one.process.tail()}")
        probe = one.given.get("startupProbe")
        return probe is None or self._ask(one, probe)

    def _ask(self, one: _Watched, probe: Object) -> bool:
        if "exec" in probe:
            return one.process.succeeds(probe["exec"]["command"], probe["timeoutSeconds"])
        return answers(self.address, _port(one.given, probe["httpGet"]["port"]), probe)


def _port(given: Object, name: str | int) -> int:
    return name if isinstance(name, int) else next(p["containerPort"] for p in given["ports"] if p["name"] == name)


def answers(address: str, port: int, probe: Mapping[str, Any]) -> bool:
    """Ask as the kubelet does, over HTTP or unverified TLS; a status from 200 to 399 is a success."""
    get = probe["httpGet"]
    where = address, port
    connection: http.client.HTTPConnection
    if get.get("scheme") == "HTTPS":
        unverified = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(*where, timeout=probe["timeoutSeconds"], context=unverified)
    else:
        connection = http.client.HTTPConnection(*where, timeout=probe["timeoutSeconds"])
    try:
        headers = {header["name"]: header["value"] for header in get.get("httpHeaders", ())}
        connection.request("GET", get["path"], headers=headers)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def own(path: Path, group: int, mode: int) -> None:
    """Give a volume to the pods' group, as fsGroup does."""
    os.chown(path, 0, group)
    path.chmod(mode)
