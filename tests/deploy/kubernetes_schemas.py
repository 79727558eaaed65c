"""Checks objects against the published schemas of Kubernetes, in which unknown fields are errors."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
OLDEST = 31
"""Minor version of the oldest Kubernetes that the chart is for."""
_CUSTOM = yaml.safe_load(Path(__file__).with_name("custom-resources.yaml").read_text(encoding="utf-8"))


@cache
def _archive() -> zipfile.ZipFile | None:
    found = sorted((ROOT / ".tools").glob("kubernetes_validate-*.whl"))
    return zipfile.ZipFile(found[-1]) if found else None


@cache
def versions() -> Sequence[str]:
    """Return the versions that can be checked, such as ``v1.31.0``; none if the schemas are not here."""
    archive = _archive()
    names = archive.namelist() if archive is not None else []
    found = {match[1] for name in names if (match := re.search(r"/(v1\.\d+\.0)-local-strict/", name))}
    return sorted((one for one in found if _minor(one) >= OLDEST), key=_minor)


def _minor(version: str) -> int:
    return int(version.split(".")[1])


@cache
def _validator(version: str, kind: str, api: str) -> jsonschema.Draft202012Validator:
    if (custom := _CUSTOM.get(f"{api} {kind}")) is not None:
        return jsonschema.Draft202012Validator(custom)
    # As the files are named: the group without its domain, then the version.
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    schema = _read(version, f"{kind.lower()}-{group}")
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> Registry:
    return Resource.from_contents(_read(version, "_definitions")) @ Registry()


def _read(version: str, name: str) -> Any:
    archive = _archive()
    assert archive is not None
    return json.loads(archive.read(f"kubernetes_validate/kubernetes-json-schema/{version}-local-strict/{name}.json"))


def faults(given: Mapping[str, Any], version: str) -> list[str]:
    """Return what is wrong with an object in this version of Kubernetes."""
    validator = _validator(version, given["kind"], given["apiVersion"])
    name = f"{version} {given['kind']} {given['metadata']['name']}"
    return [f"{name}: {'.'.join(map(str, one.path))}: {one.message}" for one in validator.iter_errors(given)]
