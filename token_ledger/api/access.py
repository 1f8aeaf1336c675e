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
USERS = frozenset({Role.USER})


def service_of(request: Request) -> Service:
    """Return the process's service."""
    service: Service = request.app.state.service
    return service


def key_of(request: Request) -> str:
    """Return the bearer key or token of a request, empty where there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else ""


async def principal_of(request: Request, roles: frozenset[Role]) -> Principal:
    """Return who calls, if the key is good and its role is one of `roles`; else raise the problem."""
    key = key_of(request)
    if not key:
        raise ProblemError(
            401, "unauthenticated", "send the API key as Authorization: Bearer tl_…",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    service = service_of(request)
    principal = await authenticated(service, key)
    if principal is None:
        raise ProblemError(
            401, "unauthenticated", "the API key or token is unknown, expired, revoked or mistyped",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    if principal.role not in roles:
        wanted = ", ".join(sorted(roles))
        raise ProblemError(403, "forbidden", f"this needs a key with the role {wanted}, yours is {principal.role}")
    return principal


async def authenticated(service: Service, key: str) -> Principal | None:
    """Return who a key or a token stands for, or None."""
    return service.remembered(key) or await service.authenticate(key)


def actor_of(principal: Principal) -> str:
    """Return how the audit log names who calls."""
    if principal.person is not None:
        return f"person:{principal.person}"
    return f"key:{principal.key_id}" if principal.token_id is None else f"token:{principal.token_id}"


class Needs:
    """A FastAPI dependency: the caller, if its role is one of those named."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        """Return the caller or raise 401 or 403."""
        return await principal_of(request, self.roles)
