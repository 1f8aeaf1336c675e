"""Owns principals: who a request comes from, and the roles that say what they may do."""

from dataclasses import dataclass, field
from enum import StrEnum

from token_ledger.core.model.tenant import TenantId

OPERATOR_TENANT = TenantId(0)
"""The tenant id of operators' keys, which belong to no tenant."""


class Role(StrEnum):
    """What a principal may do: make calls, read reports, administer its tenant, operate the service.

    No key has the role `user`: it belongs to short-lived tokens of one user or one run, and to people who signed in.
    """

    AGENT = "agent"
    FINANCE = "finance"
    ADMIN = "admin"
    OPERATOR = "operator"
    USER = "user"


KEY_ROLES = (Role.AGENT, Role.FINANCE, Role.ADMIN, Role.OPERATOR)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from; with the role `user` it is limited to one user or one run.

    A `person` has no key, but a token of an identity provider. `request` tells the lists apart that it sends.
    """

    tenant: TenantId
    role: Role
    key_id: str
    user: str | None = None
    run_id: int | None = None
    token_id: str | None = None
    person: str | None = None
    request: object = field(default=None, compare=False)

    @property
    def is_limited(self) -> bool:
        """Whether it may see only what belongs to its user or its run."""
        return self.role is Role.USER
