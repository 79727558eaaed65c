"""What Helm renders of the chart: its objects, and the parts of them that run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "ingrain"

Object = dict[str, Any]


def render(
    helm: str,
    values: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    *,
    release: str = "t",
    kube: str = "",
) -> list[Object]:
    """Return the objects of the chart, that of `helm test` among them.

    Args:
        helm: The program.
        values: Values above those of the files.
        files: Files of values.
        release: Name of the release.
        kube: Version of Kubernetes, such as ``1.31.0``; empty for Helm's own.

    Raises:
        subprocess.CalledProcessError: Helm refuses the values, and says why on standard error.
    """
    command = [helm, "template", release, str(CHART), "--namespace", "default", "--values", "-"]
    command += [word for file in files for word in ("--values", str(file))]
    command += ["--kube-version", kube] if kube else []
    given = yaml.safe_dump(dict(values or {}))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What has pods.

    Attributes:
        kind: ``Deployment``, ``StatefulSet`` or ``Pod``.
        name: The object's name.
        replicas: Number of pods; 1 if autoscaling decides.
        labels: Labels of the pods.
        spec: Their specification.
    """

    kind: str
    name: str
    replicas: int
    labels: Mapping[str, str]
    spec: Object


def workloads(objects: Sequence[Object]) -> Iterator[Workload]:
    """Yield what has pods, in the order of the objects."""
    for one in objects:
        kind, name = one["kind"], one["metadata"]["name"]
        if kind == "Pod":
            yield Workload(kind=kind, name=name, replicas=1, labels=one["metadata"]["labels"], spec=one["spec"])
        elif kind in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]
            yield Workload(
                kind=kind,
                name=name,
                replicas=one["spec"].get("replicas", 1),
                labels=template["metadata"]["labels"],
                spec=template["spec"],
            )


def containers(spec: Object) -> list[Object]:
    """Return all containers of a pod, those that run before the start first."""
    return [*spec.get("initContainers", ()), *spec["containers"]]


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether labels have all that a selector asks for."""
    return all(labels.get(name) == value for name, value in selector.items())
