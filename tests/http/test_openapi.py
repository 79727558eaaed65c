"""The API's documentation is complete and true."""

import msgspec
import pytest

from ingrain.server.dialects.table import DIALECTS
from ingrain.server.plane.openapi import openapi_document

ROUTES = [route for dialect in DIALECTS for route in dialect.routes]


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_is_documented():
    document = openapi_document(DIALECTS)
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.name or f": {route.summary}" in operation["description"]


def test_every_reference_leads_to_a_schema():
    document = openapi_document(DIALECTS)
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


async def test_each_plane_serves_its_own_document(planes):
    for plane, client in (("inference", planes.inference), ("model", planes.model)):
        document = (await client.get("/openapi.json")).json()
        assert document == openapi_document(DIALECTS, plane)
        assert set(document["paths"]) == {route.path for route in ROUTES if route.plane == plane}
        assert document["servers"] == [{"url": "/", "description": document["servers"][0]["description"]}]
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        headings = dict.fromkeys(tag for operation in operations for tag in operation["tags"])
        assert [one["name"] for one in document["tags"]] == list(headings)


@pytest.mark.parametrize("plane", ["inference", "model"])
def test_each_body_has_an_example_that_its_type_takes(plane):
    document = openapi_document(DIALECTS, plane)
    for route in ROUTES:
        if route.plane == plane and route.request is not None and route.name != "download_custom_model":
            operation = document["paths"][route.path][route.method.lower()]
            shared = operation["operationId"] != route.name  # with another dialect, whose example is in the document
            example = route.example if shared else operation["requestBody"]["content"]["application/json"]["example"]
            assert msgspec.convert(dict(example), route.request)


async def test_answers_have_the_fields_that_are_documented(planes):
    """Every JSON answer that can be asked for here has its schema's fields, and those alone."""
    schemas = openapi_document(DIALECTS)["components"]["schemas"]
    openai = {"model": "org/model", "input": "red"}
    answers = {
        "EmbeddingsAnswer": await planes.embed("red"),
        "EmbedAnswer": await planes.inference.post("/embed", json={"name": "org/model", "text": "red"}),
        "MetricsAnswer": await planes.inference.get("/metrics"),
        "ReadyAnswer": await planes.inference.get("/ready"),
        "LoadedModelsAnswer": await planes.model.get("/loaded_models"),
        "RepositoryModelsAnswer": await planes.model.get("/repository_models"),
        "EmbeddingSizeAnswer": await planes.model.get("/model_embedding_size", params={"name": "org/model"}),
        "MessageAnswer": await planes.model.get("/health"),
        "ErrorAnswer": await planes.embed("red", name="absent"),
        "OpenAIEmbeddingsAnswer": await planes.inference.post("/v1/embeddings", json=openai),
        "OpenAIModelsAnswer": await planes.inference.get("/v1/models"),
        "OpenAIModel": await planes.inference.get("/v1/models/org/model"),
        "OpenAIErrorAnswer": await planes.inference.get("/v1/models/absent"),
    }
    for schema, answer in answers.items():
        assert set(answer.json()) == set(schemas[schema]["required"]), schema
    asked = await planes.embed("red", tokenCounts=True)
    assert set(asked.json()) == set(schemas["EmbeddingsAnswer"]["properties"])
    (item,) = (await planes.inference.post("/v1/embeddings", json={**openai, "token_counts": True})).json()["data"]
    assert set(item) == set(schemas["OpenAIEmbedding"]["properties"])


def test_a_path_with_a_models_name_has_it_as_a_parameter_beside_those_of_the_query():
    path = "/openai/deployments/{model}/embeddings"
    operation = openapi_document(DIALECTS, "inference")["paths"][path]["post"]
    assert [(one["name"], one["in"]) for one in operation["parameters"]] == [
        ("model", "path"),
        ("api-version", "query"),
    ]
