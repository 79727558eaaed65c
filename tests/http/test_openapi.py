"""The API's documentation is complete and true."""

import re

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
        assert operation["operationId"] == route.name


def test_every_reference_leads_to_a_schema():
    document = openapi_document(DIALECTS)
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


async def test_the_document_and_the_page_are_served_on_both_planes(planes):
    for client in (planes.inference, planes.model):
        assert (await client.get("/openapi.json")).json() == openapi_document(DIALECTS)
        page = (await client.get("/docs")).text
        for route in ROUTES:
            assert route.path in page
        assert not re.findall(r'(?:src|href)="https?:', page), "the page must not need anything from outside"


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
