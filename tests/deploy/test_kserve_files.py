"""The manifests for KServe: fields, variables, confinement."""

from __future__ import annotations

from kserve_files import OBJECTS, containers
from kubernetes_schemas import faults

from ingrain.settings import load_settings


def test_the_fields_are_those_that_kserve_documents():
    """By a schema of our own; containers and volumes by Kubernetes' in the chart, which has the same."""
    assert [fault for one in OBJECTS for fault in faults(one, "")] == []


def test_containers_are_confined_and_their_variables_are_settings():
    for spec, container in containers():
        variables = {one["name"]: one["value"] for one in container["env"]}
        load_settings(environ=variables)
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
