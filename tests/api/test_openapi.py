"""The OpenAPI document: valid, complete, and without a reference that leads nowhere."""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import schemathesis
from jsonschema_rs import ValidationError, meta, validator_for

from tests.api.routes import PUBLIC
from tests.api.verbs import VERBS, Verb
from tests.api.world import World, check_problem
from token_ledger.api.routes.operations import OPERATIONS
from token_ledger.api.swagger_ui import FILES
from token_ledger.wire.commands.preflight import preflight_command
from token_ledger.wire.commands.runs import open_run_command


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


def test_no_two_answers_have_one_name(document: dict[str, Any]) -> None:
    """FastAPI tells them apart by their modules, which then stand in generated clients."""
    assert [name for name in document["components"]["schemas"] if "__" in name] == []


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


def test_operations_have_unique_ids_and_are_described(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in _operations(document):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert not operation["summary"].endswith("."), (method, path)


def test_every_tag_is_described_and_used(document: dict[str, Any]) -> None:
    described = [tag["name"] for tag in document["tags"] if tag["description"]]
    used = {tag for _, _, operation in _operations(document) for tag in operation["tags"]}
    assert len(described) == len(set(described))
    assert set(described) == used
    assert all(operation["tags"] for _, _, operation in _operations(document))


def _properties(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and schema of every property of a schema, and of the schemas inside it."""
    if isinstance(schema, list):
        for position, inner in enumerate(schema):
            yield from _properties(inner, f"{place}.{position}")
    elif isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            yield f"{place}.{name}", inner
            yield from _properties(inner, f"{place}.{name}")
        for key in ("items", "anyOf", "allOf", "oneOf", "additionalProperties", "prefixItems"):
            yield from _properties(schema.get(key), f"{place}.{key}")


def _described(document: dict[str, Any]) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Yield place, description and schema of every property and every parameter."""
    for name, schema in document["components"]["schemas"].items():
        for place, inner in _properties(schema, name):
            yield place, inner.get("description"), inner
    for path, method, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            yield f"{method} {path} {parameter['name']}", parameter.get("description"), parameter["schema"]


def test_every_property_and_parameter_is_described(document: dict[str, Any]) -> None:
    described = list(_described(document))
    assert len(described) > 400
    assert [place for place, description, _ in described if not description] == []


def test_every_property_and_parameter_has_an_example_that_fits(document: dict[str, Any]) -> None:
    wrong = []
    for place, _, schema in _described(document):
        # A validator of a document takes 30 ms to make, and few of 700 properties refer to another part of it.
        others = {"components": document["components"]} if '"$ref"' in json.dumps(schema) else {}
        validator = validator_for({**schema, **others}, validate_formats=True)
        if not schema.get("examples") or not all(validator.is_valid(example) for example in schema["examples"]):
            wrong.append(place)
    assert wrong == []


def test_every_type_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


async def test_the_documentation_page_needs_no_other_host(world: World) -> None:
    page = await world.client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"https?://", page.text) == []
    for name, kind in FILES.items():
        assert f"docs/{name}" in page.text
        file = await world.client.get(f"/docs/{name}")
        assert (file.status_code, file.headers["content-type"].partition(";")[0]) == (200, kind)
    check_problem(await world.client.get("/docs/main.py"), 404, "not_found")


def _on_one(command: Any, body: Any) -> Any:
    return command(body, 1)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.model], ids=lambda verb: verb.name)
def test_the_example_of_a_body_is_accepted(verb: Verb, document: dict[str, Any]) -> None:
    """Where fields exclude each other, the body needs an example of its own."""
    assert verb.model is not None
    schema = document["components"]["schemas"][verb.model.__name__]
    fields = {name: field["examples"][0] for name, field in schema["properties"].items()}
    body = verb.model.model_validate(schema.get("examples", [fields])[0])
    command: Any = COMMANDS.get(verb.name)
    if command is not None:
        command(body)


COMMANDS: dict[str, Any] = {
    **{
        operation.op: operation.command if operation.named is None else partial(_on_one, operation.command)
        for operation in OPERATIONS.values()
    },
    "run": open_run_command,
    "preflight": preflight_command,
}


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


async def test_the_document_is_served(document: dict[str, Any], world: World) -> None:
    answer = await world.client.get("/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document)


async def test_bodies_refuse_unknown_fields_in_the_document_too(document: dict[str, Any]) -> None:
    bodies = {n: s for n, s in document["components"]["schemas"].items() if n.endswith("Body") and "Answer" not in n}
    assert len(bodies) > 8
    assert [name for name, schema in bodies.items() if schema.get("additionalProperties") is not False] == []
