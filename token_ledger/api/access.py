"""Owns who may call what: the bearer key of a request, its tenant and its role."""

from starlette.requests import Request

from token_ledger.api.problems import ProblemError
from token_ledger.api.service import Service
from token_ledger.storage.api_keys import Principal, Role

CALLERS = frozenset({Role.AGENT, Role.ADMIN})
READERS = frozenset({Role.AGENT, Role.FINANCE, Role.ADMIN})
FINANCE = frozenset({Role.FINANCE, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR})


def service_of(request: Request) -> Service:
    """Return the process's service."""
    service: Service = request.app.state.service
    return service


async def principal_of(request: Request, roles: frozenset[Role]) -> Principal:
    """Return who calls, if the key is good and its role is one of `roles`; else raise the problem."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise ProblemError(
            401, "unauthenticated", "send the API key as Authorization: Bearer tl_…",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    service = service_of(request)
    principal = service.remembered(key) or await service.authenticate(key)
    if principal is None:
        raise ProblemError(
            401, "unauthenticated", "the API key is unknown, expired, revoked or mistyped",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    if principal.role not in roles:
        wanted = ", ".join(sorted(roles))
        raise ProblemError(403, "forbidden", f"this needs a key with the role {wanted}, yours is {principal.role}")
    return principal


def actor_of(principal: Principal) -> str:
    """Return how the audit log names who calls."""
    return f"key:{principal.key_id}"


class Needs:
    """A FastAPI dependency: the caller, if its role is one of those named."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        """Return the caller or raise 401 or 403."""
        return await principal_of(request, self.roles)
