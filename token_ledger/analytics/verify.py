"""Proves that the books follow from the journal: every balance, roll-up and grant is computed again (design D6, D11).

One snapshot per tenant, so that it can run beside a busy service. Each check is a query that returns what is wrong;
an empty answer is the proof. Costs are computed again from the stored prices, one event at a time.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.books import ORDINAL_BITS
from token_ledger.core.price import Price, usage_cost_nanos
from token_ledger.core.tenant import TenantId
from token_ledger.core.usage import Usage
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_prices
from token_ledger.storage.tenants import all_tenants

_SHOWN = 20
_PAGE = 5_000

_COUNTED = "case a.counts when 'all' then {all} else {uncached} end"
_EVENT_TOKENS = _COUNTED.format(
    all="e.input_tokens + e.output_tokens", uncached="e.input_tokens - e.cache_read_tokens + e.output_tokens"
)
_HELD_TOKENS = _COUNTED.format(all="r.held_tokens", uncached="r.held_uncached_tokens")

SETTLED = f"""
with booked as (
    select a.account_id, sum({_EVENT_TOKENS})::bigint as tokens, sum(e.cost_nanos)::bigint as nanos, count(*) as calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant group by a.account_id
)
select a.account_id, a.budget, a.subject, a.settled_tokens, a.settled_nanos, a.settled_calls,
       b.tokens as booked_tokens, b.nanos as booked_nanos, b.calls as booked_calls
from accounts as a left join booked as b using (account_id)
where a.tenant_id = :tenant
  and (a.settled_tokens, a.settled_nanos, a.settled_calls)
      is distinct from (coalesce(b.tokens, 0), coalesce(b.nanos, 0), coalesce(b.calls, 0))
"""

HELD = f"""
with open as (
    select a.account_id, sum({_HELD_TOKENS})::bigint as tokens, sum(r.held_nanos)::bigint as nanos, count(*) as calls
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant and r.state = 'held' group by a.account_id
)
select a.account_id, a.budget, a.subject, a.held_tokens, a.held_nanos, a.held_calls,
       o.tokens as open_tokens, o.nanos as open_nanos, o.calls as open_calls
from accounts as a left join open as o using (account_id)
where a.tenant_id = :tenant
  and (a.held_tokens, a.held_nanos, a.held_calls)
      is distinct from (coalesce(o.tokens, 0), coalesce(o.nanos, 0), coalesce(o.calls, 0))
"""

LIMITS = """
with journal as (
    select account_id, sum(tokens)::bigint as tokens, sum(nanos)::bigint as nanos, sum(calls)::bigint as calls
    from limit_entries where tenant_id = :tenant group by account_id
)
select a.account_id, a.budget, a.subject from accounts as a left join journal as j using (account_id)
where a.tenant_id = :tenant
  and (a.limit_tokens, a.limit_nanos, a.limit_calls) is distinct from (j.tokens, j.nanos, j.calls)
"""

# Every movement of every hard account in the order of decisions; a hold must have had room when it was given.
ROOM = f"""
with movement as (
    select p.account_id, r.reservation_id as id, true as given,
           {_HELD_TOKENS} as tokens, r.held_nanos as nanos, 1 as calls
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant and a.enforcement = 'hard'
    union all
    select p.account_id, r.ended_id, false, -({_HELD_TOKENS}), -r.held_nanos, -1
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant and a.enforcement = 'hard' and r.ended_id is not null
    union all
    select p.account_id, e.event_id, false, {_EVENT_TOKENS}, e.cost_nanos, 1
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant and a.enforcement = 'hard'
), running as (
    select account_id, id, given, sum(tokens) over w as tokens, sum(nanos) over w as nanos, sum(calls) over w as calls
    from movement window w as (partition by account_id order by id)
)
select m.account_id, m.id as reservation_id, m.tokens, m.nanos, m.calls
from running as m join accounts as a on a.tenant_id = :tenant and a.account_id = m.account_id
where m.given and (m.tokens > a.limit_tokens or m.nanos > a.limit_nanos or m.calls > a.limit_calls)
"""

SETTLEMENTS = """
select r.reservation_id, r.state, r.event_id, e.event_id as journal_event_id
from (select * from reservations where tenant_id = :tenant and event_id is not null) as r
full join (select * from usage_events where tenant_id = :tenant and reservation_id is not null) as e
  on e.reservation_id = r.reservation_id
where r.reservation_id is null or e.event_id is null or e.event_id <> r.event_id or e.path <> r.path
   or e.late <> (r.ended_id <> r.event_id)
"""

_ANSWERED = """
    select 'event' as answer, event_id as target_id from usage_events where tenant_id = :tenant
    union all select 'reservation', reservation_id from reservations where tenant_id = :tenant
    union all select 'denial', denial_id from denials where tenant_id = :tenant and enforced
    union all select 'kept', quarantine_id from quarantine where tenant_id = :tenant
    union all select 'run', run_id from runs where tenant_id = :tenant
"""

# A reservation has the key of its reserve, perhaps one of its release; a run that of its opening, perhaps of its end.
KEYS = f"""
with answered as ({_ANSWERED}), keyed as (
    select answer, target_id, count(*) as keys,
           count(*) filter (where source in ('reserve', 'run') or answer not in ('reservation', 'run')) as made_by
    from operation_keys
    where tenant_id = :tenant and answer in ('event', 'reservation', 'denial', 'kept', 'run') group by 1, 2
)
select answer, target_id, k.keys from answered full join keyed as k using (answer, target_id)
where k.made_by is distinct from 1 or not exists (
    select from answered as found where found.answer = k.answer and found.target_id = k.target_id
)
"""

SEQUENCES = f"""
select l.sequence, max(ids.id) >> {ORDINAL_BITS} as highest
from tenant_ledgers as l, (
    select event_id as id from usage_events where tenant_id = :tenant
    union all select greatest(reservation_id, ended_id) from reservations where tenant_id = :tenant
) as ids
where l.tenant_id = :tenant group by l.sequence having max(ids.id) >> {ORDINAL_BITS} > l.sequence
union all
select event_id, count(*) from usage_events where tenant_id = :tenant group by event_id having count(*) > 1
"""

_SUMS = (
    "count(*) as calls, sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,"
    " sum(cache_read_tokens)::bigint as cache_read_tokens,"
    " sum(cache_write_5m_tokens + cache_write_1h_tokens)::bigint as cache_write_tokens,"
    " sum(reasoning_tokens)::bigint as reasoning_tokens, sum(cost_nanos)::bigint as cost_nanos"
)
_FIGURES = "calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos"


def _rollup(table: str, key: str, start: str, source: str = "usage_events") -> str:
    """Return the query that compares a roll-up with the events, both ways."""
    unit = {"hour": "hour", "day": "day"}[start]
    local = f"date_trunc('{unit}', posted_at, :zone) as {start}"
    grouped = (
        f"select {key}, {_SUMS} from (select *, {local} from {source} where tenant_id = :tenant) as e group by {key}"
    )
    stored = f"select {key}, {_FIGURES} from {table} where tenant_id = :tenant"
    return f"({stored} except {grouped}) union all ({grouped} except {stored})"


HOURLY = _rollup("hourly_usage", "hour, cost_center, agent_type, model", "hour")
DAILY = _rollup("daily_usage", "day, user_id, agent_type, model, request_type", "day")
TAGS = _rollup(
    "daily_tag_usage",
    "day, tag, value",
    "day",
    "usage_events cross join lateral jsonb_each_text(coalesce(tags, '{}'::jsonb)) as t (tag, value)",
)

CHECKS = {
    "settled amounts are the sums of the events": SETTLED,
    "held amounts are the sums of the open holds": HELD,
    "limits are the sums of their journal": LIMITS,
    "every hold had room when it was given": ROOM,
    "settled holds and their events belong together": SETTLEMENTS,
    "every row has the key that made it, and only that": KEYS,
    "ids follow the sequence and occur once": SEQUENCES,
    "hourly roll-ups are the sums of the events": HOURLY,
    "daily roll-ups are the sums of the events": DAILY,
    "tag roll-ups are the sums of the events": TAGS,
}
COSTS = "costs follow from the prices"

PAGE_OF_EVENTS = """
select event_id, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
       reasoning_tokens, cost_nanos, price_id, unpriced
from usage_events where tenant_id = :tenant and event_id > :after order by event_id limit :page
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up: in which tenant, against which check, and the rows."""

    tenant: str
    check: str
    rows: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class Report:
    """What verify looked at and what it found."""

    tenants: int = 0
    events: int = 0
    holds: int = 0
    accounts: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything adds up."""
        return not self.findings

    def as_text(self) -> str:
        """Return the report for people."""
        looked = f"{self.tenants} tenants, {self.accounts} accounts, {self.holds} holds, {self.events} events"
        if self.clean:
            return f"verify: clean ({looked}; {len(CHECKS) + 1} checks each)"
        lines = [f"verify: {len(self.findings)} FINDINGS ({looked})"]
        for finding in self.findings:
            lines.append(f"  tenant {finding.tenant}: not true that {finding.check}")
            lines.extend(f"    {row}" for row in finding.rows)
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "clean": self.clean,
            "tenants": self.tenants,
            "accounts": self.accounts,
            "holds": self.holds,
            "events": self.events,
            "findings": [
                {"tenant": finding.tenant, "check": finding.check, "rows": [_plain(row) for row in finding.rows]}
                for finding in self.findings
            ],
        }


async def verify_database(url: str, only: str | None = None) -> Report:
    """Verify every tenant of a database, or the one named; ValueError if there is none of that name."""
    database = Database(url, writers=1, readers=1, read_seconds=None)  # proving much takes long
    try:
        async with database.reading() as connection:
            names = await all_tenants(connection)
            prices = {price.price_id: price for price in await load_prices(connection)}
        wanted = {tenant: name for tenant, name in names.items() if only in (None, name)}
        if only is not None and not wanted:
            raise ValueError(f"there is no tenant named {only!r}")
        report = Report()
        for tenant, name in wanted.items():
            await _verify_tenant(database, tenant, name, prices, report)
        return report
    finally:
        await database.close()


async def _verify_tenant(
    database: Database, tenant: TenantId, name: str, prices: dict[int, Price], report: Report
) -> None:
    async with database.reading(tenant, snapshot=True) as connection:
        # Every check compares whole tables. On a young database, which has no statistics yet, the planner expects a
        # handful of rows and compares each with each: 5,000 events took longer than the time-out of a statement.
        await connection.execute(text("set local enable_nestloop = off"))
        report.tenants += 1
        for table, count in (("accounts", "accounts"), ("reservations", "holds")):
            found = await connection.execute(
                text(f"select count(*) from {table} where tenant_id = :tenant"), {"tenant": tenant}
            )
            setattr(report, count, getattr(report, count) + found.scalar_one())
        zone = await connection.execute(
            text("select time_zone from tenants where tenant_id = :tenant"), {"tenant": tenant}
        )
        values = {"tenant": tenant, "zone": zone.scalar_one()}
        for check, query in CHECKS.items():
            wrong = await connection.execute(text(f"{query} limit {_SHOWN}"), values)
            rows = tuple(dict(row) for row in wrong.mappings())
            if rows:
                report.findings.append(Finding(name, check, rows))
        await _verify_costs(connection, tenant, name, prices, report)


async def _verify_costs(
    connection: AsyncConnection, tenant: TenantId, name: str, prices: dict[int, Price], report: Report
) -> None:
    after = -1
    wrong: list[dict[str, Any]] = []
    while True:
        page = await connection.execute(text(PAGE_OF_EVENTS), {"tenant": tenant, "after": after, "page": _PAGE})
        rows = page.all()
        for row in rows:
            expected = _expected_cost(row, prices)
            if expected != row.cost_nanos and len(wrong) < _SHOWN:
                wrong.append({"event_id": row.event_id, "cost_nanos": row.cost_nanos, "expected": expected})
        report.events += len(rows)
        if len(rows) < _PAGE:
            break
        after = rows[-1].event_id
    if wrong:
        report.findings.append(Finding(name, COSTS, tuple(wrong)))


def _expected_cost(row: Any, prices: dict[int, Price]) -> int | None:
    if row.unpriced:
        return 0
    price = prices.get(row.price_id)
    return None if price is None else usage_cost_nanos(price, Usage(*row[1:7]))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int | None) else str(value) for name, value in row.items()}
