"""The route of the audit log."""

from fastapi import APIRouter, Request

from token_ledger.api.access import FinanceOrOperator
from token_ledger.api.parameters import After, PageSize
from token_ledger.api.service import reading
from token_ledger.storage.reads.audit import find_audit
from token_ledger.wire.answers.audit import AuditLog, audit_entry_answer

router = APIRouter(prefix="/v1", tags=["audit"])


@router.get("/audit")
async def list_audit(
    request: Request, auditor: FinanceOrOperator, after: After = "0", limit: PageSize = 200
) -> AuditLog:
    """List who changed what.

    In the order of the changes. Operators see what was done to their own keys.
    """
    async with reading(request, auditor.tenant) as connection:
        found = await find_audit(connection, auditor.tenant, after=int(after), limit=limit)
    return {"audit": [audit_entry_answer(entry) for entry in found]}
