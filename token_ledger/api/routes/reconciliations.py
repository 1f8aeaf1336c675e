"""The route of reconciliations: a bill of a provider against the ledger."""

import asyncio
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from token_ledger.api.access import Admin, actor_of
from token_ledger.api.service import changing, reading, service_of
from token_ledger.api.uploads import as_sent, stored_files
from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.principal import Principal
from token_ledger.imports.booking import kept_since
from token_ledger.imports.rows import UnreadableFile
from token_ledger.reconciliation.adjustments import adjustments_of, commands_of
from token_ledger.reconciliation.answer import ReconciliationAnswer, reconciliation_answer
from token_ledger.reconciliation.bill_files import read_bill
from token_ledger.reconciliation.bill_kinds import BillKind
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.compare import Reconciliation, compare
from token_ledger.reconciliation.ledger_side import book_all, load_sides
from token_ledger.reconciliation.tables import csv_rows
from token_ledger.reports.utc_usage import COST_CENTER
from token_ledger.storage.reconciliations import BookedBill, find_booked_bill, note_booked_bill
from token_ledger.storage.upkeep.periods import database_now
from token_ledger.wire.bodies.reconciliations import ReconciliationBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import ProblemError, invalid_field

router = APIRouter(prefix="/v1", tags=["reports"])

CSV = "text/csv"
Accept = Annotated[str, Header(description="`text/csv` for a table with a row for each cell.", examples=[CSV])]


@router.post(
    "/reconciliations", response_model=ReconciliationAnswer,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "The bill against the ledger."}},
)  # fmt: skip
async def reconcile(
    request: Request, admin: Admin, body: ReconciliationBody, accept: Accept = "*/*"
) -> ReconciliationAnswer | Response:
    """Compare a provider's bill with the ledger.

    What `token-ledger reconcile` does, for files that fit into a request: by day, model and project what the bill says,
    what the ledger has, and why they differ. With `reason` and `idempotency_key` the difference is booked as well. With
    `Accept: text/csv` the answer is a table.
    """
    project_tag = _project_tag(body)
    if (body.reason is None) != (body.idempotency_key is None):
        missing = "reason" if body.reason is None else "idempotency_key"
        raise invalid_field(missing, "a reason and an idempotency_key go together: give both to book, or none")
    lines = await asyncio.to_thread(_read, body, None if project_tag == COST_CENTER else project_tag)
    found = await _compare(request, admin, lines, project_tag)
    booked, replayed = 0, False
    if body.reason is not None and body.idempotency_key is not None:
        booked, replayed = await _book(request, admin, body, found, project_tag)
        found = await _compare(request, admin, lines, project_tag)
    if CSV in accept:
        return Response(await asyncio.to_thread(_csv_text, found), media_type=CSV)
    return reconciliation_answer(found, booked, replayed=replayed)


def _project_tag(body: ReconciliationBody) -> str | None:
    if not body.by_cost_center:
        return body.project_tag
    if body.project_tag is not None:
        raise invalid_field("project_tag", "choose project_tag or by_cost_center, not both")
    return COST_CENTER


def _read(body: ReconciliationBody, tag: str | None) -> list[BillLine]:
    with TemporaryDirectory() as directory:
        paths = stored_files(Path(directory), body.files)
        try:
            return read_bill(BillKind(body.kind), paths, provider=body.provider, tag=tag)
        except UnreadableFile as error:
            raise invalid_field("files", as_sent(str(error), paths, body.files)) from None


async def _compare(
    request: Request, admin: Principal, lines: Sequence[BillLine], project_tag: str | None
) -> Reconciliation:
    async with reading(request, admin.tenant) as connection:
        book = await service_of(request).prices_of(connection, admin.tenant)
        try:
            sides = await load_sides(connection, admin.tenant, book, lines, project_tag)
        except ProblemError as problem:
            raise invalid_field("files", problem.detail, Code.TIME_OUT_OF_RANGE) from None
    try:
        # In a thread, because a bill of a month takes as long as hundreds of requests.
        return await asyncio.to_thread(compare, sides.lines, sides.rows, book)
    except ValueError as error:
        raise invalid_field("files", str(error)) from None


async def _book(
    request: Request, admin: Principal, body: ReconciliationBody, found: Reconciliation, project_tag: str | None
) -> tuple[int, bool]:
    """Book the difference and return how many adjustments that were, and whether they were booked before."""
    service, key, reason = service_of(request), body.idempotency_key or "", body.reason or ""
    fingerprint = fingerprint_of(body)
    async with reading(request, admin.tenant) as connection:
        known = await find_booked_bill(connection, admin.tenant, key)
        now = await database_now(connection)
    if known is not None:
        return _same(known, fingerprint), True
    try:
        adjustments = adjustments_of(found)
    except ValueError as error:
        raise invalid_field("files", str(error)) from None
    since = kept_since(now, service.settings.retention_months)
    commands = commands_of(adjustments, reason, now, since, project_tag)
    booked = await book_all(commands, lambda command: service.submit(admin.tenant, command))
    noted: dict[str, Any] = {"actor": actor_of(admin), "kind": body.kind, "reason": reason, "adjustments": booked}
    nanos = sum(each.nanos for each in adjustments)
    async with changing(request, admin.tenant) as connection:
        first = await note_booked_bill(connection, admin.tenant, key, fingerprint, nanos=nanos, **noted)
    return _same(first, fingerprint), False


def _same(known: BookedBill, fingerprint: bytes) -> int:
    if known.fingerprint != fingerprint:
        detail = "this key was used before for another bill or reason; use a new key for a new request"
        raise ProblemError(Code.IDEMPOTENCY_CONFLICT, detail, field="idempotency_key")
    return known.adjustments


def _csv_text(found: Reconciliation) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(csv_rows(found))
    return text.getvalue()
