"""Owns who may call what: the bearer key of a request, its tenant and its role."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from token_ledger.core.model.principal import Principal, Role
from token_ledger.identity.authentication import Authenticator
from token_ledger.wire.problems import ProblemError, RequestCode

CALLERS = frozenset({Role.AGENT, Role.ADMIN})
READERS = frozenset({Role.AGENT, Role.FINANCE, Role.ADMIN})
FINANCE = frozenset({Role.FINANCE, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR})
USERS = frozenset({Role.USER})

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


LONGEST_CREDENTIAL = 16_384
"""In characters: tokens of identity providers have a few thousand."""


def key_of(request: Request) -> str:
    """Return the bearer key or token of a request, empty where there is none."""
    return bearer(request.headers.get("authorization", ""))


def bearer(authorization: str) -> str:
    """Return the key or token of an Authorization header, empty where there is none."""
    scheme, _, key = authorization.partition(" ")
    return key if scheme.lower() == "bearer" else ""


async def authenticated(authenticator: Authenticator, authorization: str) -> Principal:
    """Return who calls, by the Authorization header; raise 401 unless its key or token is valid."""
    key = bearer(authorization)
    if not key:
        detail = "send the API key as Authorization: Bearer tl_…"
        raise ProblemError(RequestCode.UNAUTHENTICATED, detail, headers=dict(_CHALLENGE))
    principal = await authenticator.authenticate(key) if len(key) <= LONGEST_CREDENTIAL else None
    if principal is None:
        detail = "the API key or token is unknown, expired, revoked or mistyped; send one that is valid"
        raise ProblemError(RequestCode.UNAUTHENTICATED, detail, headers=dict(_CHALLENGE))
    return principal


def principal_of(request: Request, roles: frozenset[Role]) -> Principal:
    """Return who calls, whom the door has authenticated, if their role is one of `roles`; otherwise raise 403."""
    principal: Principal = request.scope["principal"]
    if principal.role not in roles:
        wanted = ", ".join(sorted(roles))
        raise ProblemError(RequestCode.FORBIDDEN, f"this needs a key with the role {wanted}, yours is {principal.role}")
    return principal


def actor_of(principal: Principal) -> str:
    """Return how the audit log names who calls."""
    if principal.role is Role.OPERATOR:
        return f"operator:{principal.key_id}"
    if principal.person is not None:
        return f"person:{principal.person}"
    return f"key:{principal.key_id}" if principal.token_id is None else f"token:{principal.token_id}"


class Needs:
    """A FastAPI dependency: who calls, if their role is one of those named."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        """Return who calls or raise 403."""
        return principal_of(request, self.roles)


Caller = Annotated[Principal, Depends(Needs(CALLERS))]
Reader = Annotated[Principal, Depends(Needs(READERS))]
Finance = Annotated[Principal, Depends(Needs(FINANCE))]
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
Operator = Annotated[Principal, Depends(Needs(OPERATORS))]
User = Annotated[Principal, Depends(Needs(USERS))]
CallerOrUser = Annotated[Principal, Depends(Needs(CALLERS | USERS))]
ReaderOrUser = Annotated[Principal, Depends(Needs(READERS | USERS))]
FinanceOrUser = Annotated[Principal, Depends(Needs(FINANCE | USERS))]
FinanceOrOperator = Annotated[Principal, Depends(Needs(FINANCE | OPERATORS))]
