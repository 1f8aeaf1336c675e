"""Report: the runs that began in a span, the newest first, in pages, with all that each has used since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.run import Run, RunState
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.kept_calls import booked_until
from token_ledger.reports.span import Span
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows

_OWN: Final = ", ".join(f"coalesce(sum({name}) filter (where part = whole), 0)::bigint" for name in Figures._fields)
_ALL: Final = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in Figures._fields)
_USAGE: Final = f"""
with lineage as (
    select run_id as whole, run_id as part from unnest(cast(:runs as bigint[])) as runs (run_id)
    union all
    select whole, run_id from runs cross join unnest(ancestors) as above (whole)
    where tenant_id = :tenant and ancestors <> '{{}}' and ancestors && cast(:runs as bigint[])
)
select whole, count(distinct part) - 1, {_OWN}, {_ALL}
from lineage left join run_usage on tenant_id = :tenant and run_id = part group by whole
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: how many runs are part of it, what its own calls come to, and what these and those of its parts do."""

    run: Run
    sub_runs: int
    own: Figures
    whole: Figures


@dataclass(frozen=True, slots=True)
class Runs:
    """The report: a page of runs, and the id after which the next one begins."""

    calendar: Calendar
    span: Span
    booked_until: datetime
    rows: tuple[RunRow, ...]
    following: int | None


async def runs_begun(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, span: Span,
    *, user: str | None, state: RunState | None, after: int | None, most: int,
) -> Runs:  # fmt: skip
    """Return the runs that began in a span, of a user and in a state if these are named, after one of them.

    The transaction has to be a snapshot.
    """
    found = await _runs(connection, tenant, span, user=user, state=state, after=after, most=most + 1)
    runs = found[:most]
    usage = await fetch_rows(connection, _USAGE, tenant=tenant, runs=[run.run_id for run in runs])
    width = len(Figures._fields)
    used = {row[0]: (row[1], Figures(*row[2 : 2 + width]), Figures(*row[2 + width :])) for row in usage}
    return Runs(
        calendar, span, await booked_until(connection, tenant), tuple(RunRow(run, *used[run.run_id]) for run in runs),
        runs[-1].run_id if len(found) > most else None,
    )  # fmt: skip


async def _runs(
    connection: AsyncConnection, tenant: TenantId, span: Span,
    *, user: str | None, state: RunState | None, after: int | None, most: int,
) -> Sequence[Run]:  # fmt: skip
    named: dict[str, Any] = {"user": user, "state": state, "after": after}
    conditions = {"user": "user_id = :user", "state": "state = :state", "after": "run_id < :after"}
    values = {name: value for name, value in named.items() if value is not None}
    where = "".join(f" and {conditions[name]}" for name in values)
    found = await fetch_rows(
        connection,
        f"select {rows.RUN.select()} from runs where tenant_id = :tenant"
        f" and created_at >= :since and created_at < :until {where} order by run_id desc limit :most",
        tenant=tenant, since=span[0], until=span[1], most=most, **values,
    )  # fmt: skip
    return [rows.RUN.read(row) for row in found]
