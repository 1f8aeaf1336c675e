"""The route of imports: usage from files of other systems."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import APIRouter, Request
from pydantic import ValidationError

from token_ledger.api.access import Admin
from token_ledger.api.service import reading, service_of
from token_ledger.api.uploads import as_sent, stored_files
from token_ledger.imports.answer import ImportAnswer, import_answer
from token_ledger.imports.booking import book, kept_since, read, try_out
from token_ledger.imports.kinds import KINDS, Form, rows_of
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.rows import Defaults, UnreadableFile
from token_ledger.imports.spool import Spool
from token_ledger.imports.summary import Summary
from token_ledger.ledger.turns import PIECES_OF_A_LIST
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.tenants import check_zone
from token_ledger.storage.upkeep.periods import database_now
from token_ledger.wire.bodies.imports import ImportBody
from token_ledger.wire.problems import invalid_field, invalid_problem

router = APIRouter(prefix="/v1", tags=["events"])


@router.post("/imports")
async def import_files(request: Request, admin: Admin, body: ImportBody) -> ImportAnswer:
    """Import usage from files of another system.

    What `token-ledger import` does, for files that fit into a request. Calls may be of any age: they stand in reports
    at their date, and on the accounts of windows that have ended, never on one under way. Nothing is booked if a file
    can't be read. What was booked before is not booked again, so an import that was interrupted can be sent again.
    """
    service, kind = service_of(request), KINDS[body.kind]
    mapping, defaults = _mapping(body), _defaults(body)
    async with reading(request, admin.tenant) as connection:
        calendar, _ = await load_calendar(connection, admin.tenant)
        since = kept_since(await database_now(connection), service.settings.retention_months)
    summary = Summary(calendar)

    async def turn(calls: int) -> None:
        await service.turns.take(admin.tenant, PIECES_OF_A_LIST)

    with TemporaryDirectory() as directory, Spool() as spool:
        paths = stored_files(Path(directory), body.files, binary=body.kind == "parquet")
        rows = rows_of(kind, paths, defaults, summary.stated, mapping)
        try:
            # In a thread, because a file takes as long as thousands of requests.
            await asyncio.to_thread(read, rows, spool, summary, lambda more: None)
        except UnreadableFile as error:
            raise invalid_field("files", as_sent(str(error), paths, body.files)) from None
        if body.dry_run:
            await try_out(
                spool.calls(), lambda commands: service.try_out(admin.tenant, commands), since, summary, turn,
                may_grow=kind.may_grow,
            )  # fmt: skip
        else:
            begun = object()
            await book(
                spool.calls(), lambda reports: service.begin_reports(admin.tenant, reports, admin.key_id, begun), since,
                summary, turn, may_grow=kind.may_grow,
            )  # fmt: skip
        for code, examples in summary.examples.items():
            summary.examples[code] = [as_sent(text, paths, body.files) for text in examples]
    return import_answer(summary, dry_run=body.dry_run)


def _mapping(body: ImportBody) -> TableMapping | None:
    if KINDS[body.kind].form is not Form.TABLE:
        if body.mapping is not None:
            raise invalid_field("mapping", f"{body.kind} has fields of its own; leave it out")
        return None
    if body.mapping is None:
        raise invalid_field("mapping", "say which column is what; token-ledger import --dry-run guesses it")
    try:
        return TableMapping.model_validate(body.mapping)
    except ValidationError as error:
        raise invalid_problem(error, "mapping") from None


def _defaults(body: ImportBody) -> Defaults:
    try:
        zone = None if body.time_zone is None else check_zone(body.time_zone)
    except ValueError as error:
        raise invalid_field("time_zone", str(error)) from None
    return Defaults(body.user, body.cost_center, body.agent_type, body.provider, zone)
