"""Owns entries of the audit log."""

from typing import Any

from token_ledger.core.model.frozen import value


@value
class AuditEntry:
    """One change by an administrator: who did what to what. `before` and `after` are plain data, None for nothing."""

    audit_id: int
    actor: str
    action: str
    target: str
    before: Any
    after: Any
