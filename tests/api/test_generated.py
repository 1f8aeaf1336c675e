"""Valid and invalid requests generated from the OpenAPI document: never a 5xx, and every answer as documented."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import Message, Receive, Scope, Send

from tests.api.routes import ALLOWED
from tests.api.verbs import named_ids
from tests.api.world import World
from token_ledger.core.model.principal import Role

SEED = 20261121
EXAMPLES = 8
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A live stream has no end; test_live reads it.
GENERATED = sorted(route for route in ALLOWED if route[1] != "/v1/live")


@pytest.fixture(scope="module")
async def ids(world: World) -> dict[str, str]:
    return await named_ids(world)


@pytest.fixture(scope="module")
async def schema(world: World) -> Any:
    """The document, read once: with it schemathesis keeps what it has made of the types that routes share."""
    app = Bridge(world.app, asyncio.get_running_loop())
    return await asyncio.to_thread(schemathesis.openapi.from_asgi, "/openapi.json", app)


class Bridge:
    """Lets a thread call an app that runs in another thread's event loop, because its connections live there."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the service is started by the world")
        request = await receive()
        call = asyncio.run_coroutine_threadsafe(self._collect(scope, request), self._loop)
        for message in await asyncio.wrap_future(call):
            await send(message)

    async def _collect(self, scope: Scope, request: Message) -> list[Message]:
        sent: list[Message] = []
        requests = [request]

        async def receive() -> Message:
            return requests.pop(0) if requests else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent


def _send_generated(schema: Any, route: tuple[str, str], ids: Mapping[str, str], headers: Mapping[str, str]) -> int:
    method, path = route
    operation = schema[path][method]
    answered: set[int] = set()

    def attempt(case: Any, with_known_id: bool) -> None:
        if with_known_id:
            case.path_parameters = {name: ids.get(name, value) for name, value in (case.path_parameters or {}).items()}
        response = case.call(headers=dict(headers))
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        try:
            cases = operation.as_strategy(generation_mode=mode)
        except schemathesis.errors.SchemathesisError:
            continue
        run = settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=cases, with_known_id=st.booleans())(attempt))  # fmt: skip
        seed(SEED)(run)()
    return len(answered)


@pytest.mark.parametrize("route", GENERATED, ids=lambda route: f"{route[0]}-{route[1]}")
async def test_generated_requests_are_answered_as_documented(
    route: tuple[str, str], world: World, ids: dict[str, str], schema: Any
) -> None:
    who = ("operator", Role.OPERATOR) if route[1] == "/v1/tenants" else ("acme", Role.ADMIN)
    answered = await asyncio.to_thread(_send_generated, schema, route, ids, world.headers(*who))
    assert answered > 0
