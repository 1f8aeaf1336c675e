"""Owns what one verb of callers is: its body, its command, the outcome it expects and the answer it gives.

Each has a route of its own and is an item of `/v1/operations`. The hot ones and that list are plain Starlette routes,
because FastAPI would take longer to call them than the ledger takes to decide them; their OpenAPI entries are made from
here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from token_ledger.api.access import CALLERS, principal_of
from token_ledger.api.parameters import check_parameters, parse_id
from token_ledger.api.problem_responses import media_type_problem
from token_ledger.api.service import service_of
from token_ledger.core.batch.idempotency import KeyedCommand
from token_ledger.core.model.principal import Principal
from token_ledger.runtime import Service
from token_ledger.wire.fields import Body
from token_ledger.wire.problems import Expected, expect, invalid_problem


class _Route(Route):
    """A route that names itself in the scope, as FastAPI's own do, so that requests are measured by its template."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


@dataclass(frozen=True, kw_only=True)
class HotRoute(ABC):
    """A route of callers outside FastAPI. `named` is the id that its path names, None where it names none.

    `answer_type` is the type of its answer; `summary` and `description` are for the OpenAPI document.
    """

    op: str
    path: str
    status: int
    body: type[Body]
    answer_type: type
    summary: str
    description: str
    named: str | None = None

    @abstractmethod
    async def respond(self, request: Request, caller: Principal, body: Any, number: int | None) -> Mapping[str, Any]:
        """Return the answer to a request, whose body is of the route's type; raise the problem if it is refused."""

    def route(self) -> Route:
        """Return the route."""
        return _Route(self.path, _Endpoint(self), methods=["POST"], name=self.op)


@dataclass(frozen=True, kw_only=True)
class CallerOperation(HotRoute, Generic[Expected]):
    """A verb of callers.

    `command` makes the command from the body and the id of the path; `answer` makes the answer from an outcome of the
    kind `outcome`.
    """

    command: Callable[..., KeyedCommand]
    outcome: type[Expected]
    answer: Callable[[Expected], Mapping[str, Any]]

    async def run(self, service: Service, caller: Principal, body: Body, number: int | None) -> Mapping[str, Any]:
        """Have the verb decided and return its answer; raise the problem if it is refused."""
        command = self.command(body) if number is None else self.command(body, number)
        own = command.sent_by(caller.role)
        decided = await service.submit(caller.tenant, own, caller.key_id, caller.request)  # type: ignore[arg-type]
        return self.answer(expect(self.outcome, decided))

    async def respond(self, request: Request, caller: Principal, body: Any, number: int | None) -> Mapping[str, Any]:
        """Have the verb decided and return its answer; raise the problem if it is refused."""
        return await self.run(service_of(request), caller, body, number)


class _Endpoint:
    """Answers requests to a hot route; an application, because Starlette would wrap a function twice."""

    def __init__(self, route: HotRoute) -> None:
        self._route = route
        self._parse = TypeAdapter(route.body).validate_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, request = self._route, Request(scope)
        caller = principal_of(request, CALLERS)
        check_parameters(request, ())
        number = None if route.named is None else parse_id(request.path_params[route.named], route.named)
        value = await route.respond(request, caller, _parsed(request, self._parse), number)
        await Response(to_json(value), route.status, media_type="application/json")(scope, receive, send)


def _parsed(request: Request, parse: Callable[[bytes], Body]) -> Body:
    body: bytes = request.scope["content"]
    if body and not request.headers.get("content-type", "").startswith("application/json"):
        raise media_type_problem(request)
    try:
        return parse(body or b"{}")
    except ValidationError as error:
        raise invalid_problem(error) from None
