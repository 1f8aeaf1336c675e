"""The OpenAPI document: valid, complete, and without a reference that leads nowhere."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from jsonschema_rs import ValidationError, meta

from tests.api.routes import PUBLIC
from tests.api.world import World


@pytest.fixture(scope="module")
def document(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.app.openapi()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method.upper(), operation


def test_it_is_a_valid_openapi_document(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        meta.validate(schema)


def test_a_broken_document_would_be_noticed(document: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(document))
    broken["paths"]["/v1/reservations"]["post"]["responses"] = 5
    with pytest.raises(ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)))
    assert "ReservationBody" in references
    assert "EventBody" in references
    assert references - set(document["components"]["schemas"]) == set()


def test_operations_have_names_of_their_own_and_say_what_they_do(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in _operations(document):
        assert operation.get("summary") or operation.get("description"), (method, path)
        assert operation["tags"], (method, path)


def test_paths_declare_their_parameters(document: dict[str, Any]) -> None:
    for path, _, operation in _operations(document):
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_every_route_with_a_key_says_so_and_documents_its_problems(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        if (method, path) in PUBLIC:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"key": []}], path
        for status in ("4XX", "503"):
            content = operation["responses"][status]["content"]
            assert content["application/problem+json"]["schema"]["$ref"].endswith("/Problem")


async def test_it_is_served_as_it_is_made(document: dict[str, Any], world: World) -> None:
    answer = await world.client.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document)


async def test_bodies_refuse_unknown_fields_in_the_document_too(document: dict[str, Any]) -> None:
    bodies = {n: s for n, s in document["components"]["schemas"].items() if n.endswith("Body") and "Answer" not in n}
    assert len(bodies) > 8
    assert [name for name, schema in bodies.items() if schema.get("additionalProperties") is not False] == []
