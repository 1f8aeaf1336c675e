"""Check of verify: a new window got what the ones before it left, at most the budget's cap (design D6)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.analytics.movements import MOVEMENTS, each_unit
from token_ledger.core.account import Account
from token_ledger.core.budget import Budget, Counts, Enforcement, Limits
from token_ledger.core.money import parse_money
from token_ledger.core.rollover import rolled_over
from token_ledger.core.window import Calendar, Window
from token_ledger.storage.periods import load_calendar
from token_ledger.storage.rows import parsed

ROLLOVERS = "new windows got what the ones before them left"

# Of what lies before the cut it can't be told any more what was left when the next window began. While a user is being
# erased, some of their accounts bear the name and others the pseudonym.
_OPENED = f"""
with rolling as (
    select budget_id from budgets
    where tenant_id = :tenant and num_nonnulls(rollover_tokens, rollover_nanos, rollover_calls) > 0
    union
    select target::bigint from audit_log
    where tenant_id = :tenant and action in ('budget.create', 'budget.change')
      and (before -> 'rollover' <> 'null' or after -> 'rollover' <> 'null')
    union
    select a.budget_id from accounts as a join limit_entries as e using (tenant_id, account_id)
    where tenant_id = :tenant and e.kind = 'rollover'
), lined as (
    select a.account_id, a.budget_id, a.subject, a.window_start, lag(a.account_id) over w as earlier_id,
           lag(a.window_start) over w as earlier_start
    from accounts as a join rolling using (budget_id)
    left join erasures as e
        on e.tenant_id = :tenant and e.user_id = a.subject::jsonb ->> 'user' and a.account_id <= e.last_id
    where a.tenant_id = :tenant
    window w as (
        partition by a.budget_id, a.subject::jsonb - 'user', coalesce(e.pseudonym, a.subject::jsonb ->> 'user')
        order by a.window_start
    )
), opened as (
    select l.*, b."window", b.created_at from lined as l
    left join budgets as b on b.tenant_id = :tenant and b.budget_id = l.budget_id where l.account_id > :cut
), watched as (
    select a.account_id, a.counts from accounts as a join opened as o on o.earlier_id = a.account_id
    where a.tenant_id = :tenant
), {MOVEMENTS}, earlier as (
    select o.account_id,
           {each_unit("coalesce(sum(m.{u}), 0)::bigint as used_{u}, sum(m.limit_{u})::bigint as limit_{u}")}
    from opened as o join movement as m on m.account_id = o.earlier_id and m.id < o.account_id
    group by o.account_id
), journal as (
    select account_id, {each_unit("(array_agg({u}) filter (where kind = 'opening'))[1] as opening_{u}")},
           count(*) filter (where kind = 'rollover') as rollovers,
           {each_unit("sum({u}) filter (where kind = 'rollover')::bigint as rollover_{u}")}
    from limit_entries join opened using (account_id) where tenant_id = :tenant group by account_id
)
select o.*, {each_unit("j.opening_{u}, j.rollover_{u}, e.used_{u}, e.limit_{u}")}, j.rollovers
from opened as o join journal as j using (account_id) left join earlier as e using (account_id)
"""

_CAPS = "select budget_id, rollover_tokens, rollover_nanos, rollover_calls from budgets where tenant_id = :tenant"
_CHANGES = """
select target::bigint as budget_id, audit_id, before -> 'rollover' as before, after -> 'rollover' as after
from audit_log where tenant_id = :tenant and action in ('budget.create', 'budget.change') order by audit_id
"""

Caps = list[tuple[int, Limits]]
"""What of a budget rolled over at most from which id on, ascending."""


async def find_wrong_rollovers(
    connection: AsyncConnection, values: Mapping[str, Any], most: int
) -> list[dict[str, Any]]:
    """Return at most so many accounts that did not get what the window before theirs left."""
    calendar, _ = await load_calendar(connection, values["tenant"])
    caps = await _load_caps(connection, values)
    wrong: list[dict[str, Any]] = []
    async with connection.stream(text(_OPENED), values) as opened:
        async for row in opened.mappings():
            history = caps.get(row["budget_id"], [])
            cap = next((cap for since, cap in reversed(history) if since < row["account_id"]), Limits())
            expected = _expected(row, cap, calendar)
            if _limits(row, "rollover") != expected or row["rollovers"] != (not expected.is_nothing):
                wrong.append({**row, "expected": expected.amounts})
            if len(wrong) == most:
                break
    return wrong


async def _load_caps(connection: AsyncConnection, values: Mapping[str, Any]) -> dict[int, Caps]:
    budgets = await connection.execute(text(_CAPS), values)
    caps: dict[int, Caps] = {row["budget_id"]: [(0, _limits(row, "rollover"))] for row in budgets.mappings()}
    for change in (await connection.execute(text(_CHANGES), values)).all():
        history = caps.get(change.budget_id)
        if history is None:
            continue
        if len(history) == 1:  # what it is now is not what it was before the first change
            history[0] = 0, _shown(change.before)
        history.append((change.audit_id, _shown(change.after)))
    return caps


def _expected(row: RowMapping, cap: Limits, calendar: Calendar) -> Limits:
    window, opening = Window(row["window"] or Window.RUN), _limits(row, "opening")
    if window in (Window.RUN, Window.TOTAL):
        return Limits()
    budget = Budget(row["budget_id"], "", (), opening, window, created_at=row["created_at"])
    earlier = None
    if row["earlier_id"] is not None:
        earlier = Account(
            row["earlier_id"], row["budget_id"], "", row["subject"], row["earlier_start"], None,
            Enforcement.HARD, Counts.ALL, _limits(row, "limit"),
        )  # fmt: skip
        earlier.settle(row["used_tokens"], row["used_nanos"], row["used_calls"])
    return rolled_over(budget, cap, earlier, row["window_start"], calendar)


def _limits(row: RowMapping, kind: str) -> Limits:
    return Limits(row[f"{kind}_tokens"], row[f"{kind}_nanos"], row[f"{kind}_calls"])


def _shown(state: Any) -> Limits:
    """Return limits of the audit log, in which money is text."""
    amounts = parsed(state)
    if amounts is None:
        return Limits()
    cost = amounts["cost"]
    return Limits(amounts["tokens"], None if cost is None else parse_money(cost), amounts["calls"])
