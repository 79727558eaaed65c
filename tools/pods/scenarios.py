"""What is tried with each topology."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trustme

from pods.cluster import Cluster
from pods.pod import End, Pod, own
from pods.rendered import render
from pods.traffic import Traffic, embed
from tiny_models import build_family

KEY = "a-key-of-all-scopes"
MODEL = "small-model"
_SMALL: dict[str, Any] = {
    "models": [MODEL],
    "hub": {"enabled": False},
    "localModels": {"existingClaim": "own-models"},
    "probes": {"periodSeconds": 1},
    "drain": {"preStopSeconds": 2},
    "env": [{"name": "INGRAIN_EXPORT_THREADS", "value": "1"}],
    "triton": {"sharedMemory": "256Mi"},
}


class BrokenPromiseError(Exception):
    """Something is not as the chart promises."""


def check(what: str, *, holds: bool) -> str:
    """Return a line of the report.

    Raises:
        BrokenPromiseError: It does not hold.
    """
    if not holds:
        raise BrokenPromiseError(what)
    return what


def together(helm: str, folder: Path) -> Iterator[str]:
    """Two pods with a Triton each; one is replaced under load."""
    objects = render(helm, {**_SMALL, "topology": "together", "replicas": 2})
    cluster = Cluster(folder, objects, claims={"own-models": _own_models(folder)})
    try:
        cluster.start()
        yield from _ready(cluster)
        first = cluster.of("server")[0]
        expected = embed(first.address, MODEL, {})
        for port, name in ((8000, "HTTP"), (8001, "gRPC")):
            yield check(f"Triton's {name} is not reached from outside the pod", holds=not _is_open(first, port))
        metrics = urllib.request.urlopen(f"http://{first.address}:8002/metrics", timeout=10).read().decode()
        yield check("Triton's metrics are", holds="nv_inference_count" in metrics)
        yield from _helm_test(cluster)
        yield from _replace(cluster, first, expected, {})
    finally:
        cluster.close()


def apart(helm: str, folder: Path, tritons: int = 3) -> Iterator[str]:
    """Three front ends before Tritons that share a claim, with keys; one of each is replaced under load."""
    values = {
        **_SMALL,
        "topology": "apart",
        "replicas": 3,
        "repository": {"storage": "claim"},
        "apiKeys": {"existingSecret": "keys", "inferKey": "one", "metricsKey": "one"},
        "triton": {"replicas": tritons, "sharedMemory": "256Mi"},
    }
    objects = render(helm, values)
    secrets = {"keys": {"keys": f"{KEY}\n", "one": KEY}}
    cluster = Cluster(folder, objects, secrets=secrets, claims={"own-models": _own_models(folder)})
    headers = {"Authorization": f"Bearer {KEY}"}
    try:
        cluster.start()
        yield from _ready(cluster)
        front = cluster.of("server")[0]
        expected = embed(front.address, MODEL, headers)
        yield check("without a key a request is refused", holds=_status(front, {}) == 401)
        yield from _helm_test(cluster)
        yield from _replace(cluster, front, expected, headers)
        if tritons > 1:
            yield from _replace(cluster, cluster.of("triton")[0], expected, headers)
    finally:
        cluster.close()


def alone(helm: str, folder: Path) -> Iterator[str]:
    """One pod without Triton, with TLS, keys and the further ports."""
    values = {
        **_SMALL,
        "topology": "alone",
        "apiKeys": {"existingSecret": "keys", "inferKey": "one"},
        "tls": {"existingSecret": "tls"},
        "settings": {
            "INGRAIN_GRPC_PORT": 8688,
            "INGRAIN_OLLAMA_PORT": 11434,
            "INGRAIN_ALLOWED_HOSTS": "t-ingrain.default.svc",
        },
    }
    authority = trustme.CA()
    certificate = authority.issue_cert("t-ingrain.default.svc")
    secrets = {
        "keys": {"keys": f"{KEY}\n", "one": KEY},
        "tls": {
            "tls.crt": "".join(part.bytes().decode() for part in certificate.cert_chain_pems),
            "tls.key": certificate.private_key_pem.bytes().decode(),
            "ca.crt": authority.cert_pem.bytes().decode(),
        },
    }
    cluster = Cluster(folder, render(helm, values), secrets=secrets, claims={"own-models": _own_models(folder)})
    try:
        cluster.start()
        yield from _ready(cluster)
        (pod,) = cluster.of("server")
        for port in (8687, 8688, 11434):
            yield check(f"port {port} is open", holds=_is_open(pod, port))
        yield from _helm_test(cluster)
        unverified = ssl._create_unverified_context()
        headers = {"Authorization": f"Bearer {KEY}", "Host": "t-ingrain.default.svc"}
        yield check("a text is embedded over TLS", holds=len(embed(pod.address, MODEL, headers, unverified)) > 0)
        yield from _ended(cluster.remove(pod))
    finally:
        cluster.close()


SCENARIOS = {"together": together, "apart": apart, "alone": alone}


def _own_models(folder: Path) -> Path:
    path = folder / "own-models"
    build_family("BERT", path / MODEL)
    for one in (path, *path.rglob("*")):
        own(one, 1000, 0o750 if one.is_dir() else 0o640)
    return path


def _ready(cluster: Cluster) -> Iterator[str]:
    took = cluster.wait_until_ready(580)
    failed = sum(pod.liveness_failures for _, pod in cluster.pods.values())
    yield check(
        f"{len(cluster.pods)} pods are ready after {took:.0f} s, with conversion; no liveness probe failed",
        holds=failed == 0,
    )


def _helm_test(cluster: Cluster) -> Iterator[str]:
    output = cluster.test()
    yield check("helm test embeds a text by the service", holds='"embedding' in output)


def _replace(cluster: Cluster, pod: Pod, expected: np.ndarray, headers: dict[str, str]) -> Iterator[str]:
    workload = cluster.pods[pod.name][0]
    address = next(service.address for service in cluster.services if service.name == "t-ingrain")
    traffic = Traffic(address, MODEL, headers, expected)
    try:
        cluster.add(workload)
        cluster.wait_until_ready(580)
        before = traffic.answered
        ends = list(_ended(cluster.remove(pod)))
        cluster.wait_until_ready(60)
        after = traffic.answered - before
    finally:
        traffic.stop()
    yield from ends
    yield check(
        f"{pod.name} was replaced under load: {traffic.answered} requests answered ({after} from its removal on), "
        f"{len(traffic.failures)} failed {traffic.failures[:3]}",
        holds=not traffic.failures and after > 0,
    )


def _ended(end: End) -> Iterator[str]:
    codes = ", ".join(f"{name} {code}" for name, code in end.codes.items())
    yield check(
        f"SIGTERM: exit codes {codes} after {end.seconds:.1f} s of {end.grace_s:.0f}",
        holds=set(end.codes.values()) == {0},
    )


def _is_open(pod: Pod, port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(3)
        return one.connect_ex((pod.address, port)) == 0


def _status(pod: Pod, headers: dict[str, str]) -> int:
    try:
        embed(pod.address, MODEL, headers)
    except RuntimeError as error:
        return int(str(error).partition(":")[0])
    return 200
