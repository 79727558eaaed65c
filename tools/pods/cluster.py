"""Runs all pods of a release, with HAProxy as their services and a file of hosts as their DNS."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from pods.container import wait_for
from pods.haproxy import Proxy, Service
from pods.images import make_images
from pods.network import new_address
from pods.pod import End, Node, Pod, own
from pods.rendered import Object, Workload, selects, workloads


class Cluster:
    """A release that runs.

    Args:
        folder: An empty folder; logs are left there.
        objects: What Helm has rendered.
        secrets: Entries of the Secrets that the values name.
        claims: Folders of claims that exist.

    Attributes:
        pods: Running pods by name, each with what it belongs to.
        services: The release's services.
    """

    def __init__(
        self,
        folder: Path,
        objects: Sequence[Object],
        *,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        claims: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.objects = folder, objects
        self.pods: dict[str, tuple[Workload, Pod]] = {}
        self._numbers = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        images = make_images(self.folder / "image")
        claims = dict(claims or {})
        for one in self.objects:
            if one["kind"] == "PersistentVolumeClaim":
                (path := self.folder / "claims" / one["metadata"]["name"]).mkdir(parents=True)
                own(path, 1000, 0o2775)
                claims[one["metadata"]["name"]] = path
        (hosts := self.folder / "hosts").write_text("127.0.0.1 localhost\n")
        self._node = Node(folder=self.folder, images=images, secrets=secrets or {}, claims=claims, hosts=hosts)
        self.services = [Service.of(one) for one in self.objects if one["kind"] == "Service"]
        self._proxy = Proxy(self.folder, [service for service in self.services if not service.is_headless])
        self._closing = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def start(self) -> None:
        """Start every pod but those of tests."""
        for workload in workloads(self.objects):
            if workload.kind != "Pod":
                for _ in range(workload.replicas):
                    self.add(workload)

    def add(self, workload: Workload) -> Pod:
        """Start a pod of a workload, in the background."""
        self._numbers += 1
        name = f"{workload.name}-{self._numbers}"
        pod = Pod(name, workload.spec, new_address(), self._node)
        self.pods[name] = workload, pod
        threading.Thread(target=self._start, args=(pod,), daemon=True).start()
        return pod

    def _start(self, pod: Pod) -> None:
        try:
            pod.start()
        except (RuntimeError, TimeoutError) as error:
            pod.restarts.append(str(error))

    def of(self, component: str) -> list[Pod]:
        """Return the running pods of a component, such as ``server``."""
        return [
            pod for workload, pod in self.pods.values() if workload.labels["app.kubernetes.io/component"] == component
        ]

    def wait_until_ready(self, seconds: float) -> float:
        """Wait until all pods are ready; return the seconds it took.

        Raises:
            RuntimeError: A pod failed, or was not ready in time; the message has its output.
        """

        def are_ready() -> bool:
            for _, pod in list(self.pods.values()):
                if pod.restarts:
                    raise RuntimeError(f"{pod.restarts}\n{pod.output()}")
            return all(pod.is_ready for _, pod in self.pods.values())

        try:
            return wait_for("readiness of all pods", are_ready, seconds)
        except TimeoutError as error:
            late = [pod for _, pod in self.pods.values() if not pod.is_ready]
            raise RuntimeError(f"{error}\n" + "\n".join(pod.output() for pod in late)) from error

    def remove(self, pod: Pod) -> End:
        """Delete a pod: it leaves its services, and ends as its specification says."""
        del self.pods[pod.name]
        self._publish()
        return pod.end()

    def test(self, seconds: float = 120) -> str:
        """Run the pod of `helm test`; return its output.

        Raises:
            RuntimeError: It failed.
        """
        workload = next(one for one in workloads(self.objects) if one.kind == "Pod")
        self._numbers += 1
        pod = Pod(f"{workload.name}-{self._numbers}", workload.spec, new_address(), self._node)
        pod.start()
        code, output = pod.finished(seconds), pod.output()
        pod.kill()
        if code != 0:
            raise RuntimeError(f"helm test: exit code {code}\n{output}")
        return output

    def close(self) -> None:
        """End everything at once."""
        self._closing.set()
        for _, pod in self.pods.values():
            pod.kill()
        self._proxy.close()

    def _follow(self) -> None:
        while not self._closing.wait(0.1):
            self._publish()

    def _publish(self) -> None:
        """Tell services and DNS which pods are ready."""
        running = list(self.pods.values())
        lines = ["127.0.0.1 localhost"]
        for service in self.services:
            chosen = [pod for workload, pod in running if selects(service.selector, workload.labels)]
            ready = [pod for pod in chosen if pod.is_ready]
            names = " ".join(f"{service.name}{end}" for end in ("", ".default", ".default.svc"))
            addresses = [pod.address for pod in ready] if service.is_headless else [service.address]
            lines += [f"{address} {names}" for address in addresses]
            if not service.is_headless:
                self._proxy.set_backends(service, [pod.address for pod in ready])
        text = "\n".join(lines) + "\n"
        if self._node.hosts.read_text() != text:
            self._node.hosts.write_text(text)  # in place: pods have the file itself
