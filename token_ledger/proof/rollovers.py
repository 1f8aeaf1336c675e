"""Checks: a new window received what the windows before it really left, and only a subject's own windows leave any."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, text

from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Counts, Enforcement, Limits, Overrides, Terms
from token_ledger.core.model.money import parse_money
from token_ledger.core.model.rollover import rolled_over
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import Calendar, Window
from token_ledger.proof.check import Check, Row, Scope, each_unit
from token_ledger.proof.movements import LIMIT, MOVEMENTS
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.json_columns import parsed
from token_ledger.storage.rows import TERMS

# While a user is being erased, some of their accounts have the name and others the pseudonym.
_ACCOUNTS = """
select a.account_id, a.budget_id, a.subject, a.window_start, a.window_end, a.earns, e.booked_at as opened_at,
       (a.subject::jsonb - 'user')::text as others, coalesce(x.pseudonym, a.subject::jsonb ->> 'user') as user_id
from accounts as a
join limit_entries as e on e.tenant_id = a.tenant_id and e.account_id = a.account_id and e.entry_id = a.account_id
left join erasures as x
    on x.tenant_id = :tenant and x.user_id = a.subject::jsonb ->> 'user' and a.account_id <= x.last_id
where a.tenant_id = :tenant and (a.budget_id <> 0 or exists (
    select from limit_entries as r
    where r.tenant_id = a.tenant_id and r.account_id = a.account_id and r.kind = 'rollover'
))
order by a.budget_id, others, user_id, a.window_start
"""

# What each account had got when it was opened, and what the one before it had and had used by then.
_OPENED = f"""
with recursive opened as (
    select * from unnest(cast(:accounts as bigint[]), cast(:earlier as bigint[])) as o (account_id, earlier_id)
), watched as (
    select a.account_id, a.counts from accounts as a join opened as o on o.earlier_id = a.account_id
    where a.tenant_id = :tenant
), {MOVEMENTS}, earlier as (
    select o.account_id,
           {each_unit("coalesce(sum(m.{u}), 0)::bigint as used_{u}")}, {each_unit(LIMIT.format("") + " as limit_{u}")}
    from opened as o join movement as m on m.account_id = o.earlier_id and m.id < o.account_id
    group by o.account_id
), removed as (
    select o.account_id, {each_unit("coalesce(max(e.entry_id) filter (where e.bound_{u} < 0), 0) as {u}")}
    from opened as o join limit_entries as e on e.account_id = o.earlier_id and e.entry_id < o.account_id
    where e.tenant_id = :tenant group by o.account_id
), based as (
    select o.account_id, {each_unit("sum(e.{u}) filter (where e.entry_id > r.{u})::bigint as base_{u}")}
    from opened as o join removed as r using (account_id)
    join limit_entries as e on e.account_id = o.earlier_id and e.entry_id < o.account_id
    where e.tenant_id = :tenant and e.kind in ('opening', 'change') group by o.account_id
), journal as (
    select o.account_id, {each_unit("(array_agg(e.{u}) filter (where e.kind = 'opening'))[1] as opening_{u}")},
           count(*) filter (where e.kind = 'rollover') as rollovers,
           {each_unit("sum(e.{u}) filter (where e.kind = 'rollover')::bigint as rollover_{u}")}
    from opened as o join limit_entries as e on e.account_id = o.account_id
    where e.tenant_id = :tenant group by o.account_id
)
select o.account_id, b."window",
       {each_unit("j.opening_{u}, j.rollover_{u}, e.used_{u}, e.limit_{u}, d.base_{u}")}, j.rollovers
from opened as o join journal as j using (account_id)
left join earlier as e using (account_id) left join based as d using (account_id)
join accounts as a on a.tenant_id = :tenant and a.account_id = o.account_id
left join budgets as b on b.tenant_id = :tenant and b.budget_id = a.budget_id
"""

# The log shows what a budget allowed. Budgets from before a tenant's first entry have the terms of today only.
_LOGGED = """
select target::bigint as budget_id, audit_id, booked_at, after from audit_log
where tenant_id = :tenant and action in ('budget.create', 'budget.replace', 'budget.change') order by audit_id
"""
# The log is renamed last.
_ERASURES = "select user_id, pseudonym, last_id from erasures where tenant_id = :tenant"
_STORED = f"""
select tenant_id, budget_id, terms_id, {", ".join(TERMS.names)} from budget_terms where tenant_id = :tenant
order by budget_id, terms_id
"""

_PAGE = 5_000

History = list[tuple[int, Terms]]
"""What a budget allowed and allows, each with the id of its decision, ascending."""


@dataclass(slots=True)
class _Opened:
    """An account, and the newest before it of its budget and subject that there was when it was opened."""

    row: RowMapping
    earlier: RowMapping | None

    @property
    def earns(self) -> bool:
        """Whether what it leaves may be rolled over: it was opened in time, or another one before it earns."""
        ends = self.row["window_end"]
        return bool(ends is None or self.row["opened_at"] < ends or (self.earlier and self.earlier["earns"]))


async def _accounts(scope: Scope) -> AsyncIterator[_Opened]:
    """Yield every account with an end, each subject's in the order of their windows."""
    subject: tuple[Any, ...] = ()
    before: list[RowMapping] = []
    async with scope.connection.stream(text(_ACCOUNTS), scope.parameters) as rows:
        async for row in rows.mappings():
            of = row["budget_id"], row["others"], row["user_id"]
            if of != subject:
                subject, before = of, []
            known = (each for each in reversed(before) if each["account_id"] < row["account_id"])
            yield _Opened(row, next(known, None))
            before.append(row)


async def _find_wrong_earners(scope: Scope) -> list[Row]:
    """Return accounts that say wrongly whether what they leave may be rolled over."""
    wrong: list[Row] = []
    async for opened in _accounts(scope):
        if opened.row["earns"] is not opened.earns:
            wrong.append(dict(opened.row))
        if len(wrong) == scope.most_rows:
            break
    return wrong


async def _find_wrong_rollovers(scope: Scope) -> list[Row]:
    """Apply the core's rule to every account opened since the cut, and return those that received anything else."""
    calendar, _ = await load_calendar(scope.connection, scope.parameters["tenant"])
    terms = await _load_terms(scope)
    opened = [each async for each in _accounts(scope) if each.row["account_id"] > scope.parameters["cut"]]
    wrong: list[Row] = []
    for first in range(0, len(opened), _PAGE):
        page = {each.row["account_id"]: each for each in opened[first : first + _PAGE]}
        values = {
            **scope.parameters,
            "accounts": [*page],
            "earlier": [each.earlier["account_id"] if each.earlier else None for each in page.values()],
        }
        for row in (await scope.connection.execute(text(_OPENED), values)).mappings():
            each = page[row["account_id"]]
            expected = _expected(row, each, terms.get(each.row["budget_id"], []), calendar)
            if _limits(row, "rollover") != expected or row["rollovers"] != (not expected.is_nothing):
                wrong.append({**row, "expected": expected.amounts})
    return wrong[: scope.most_rows]


async def _find_wrong_terms(scope: Scope) -> list[Row]:
    """Return budgets whose stored terms are not those that the audit log shows."""
    logged = await _logged_terms(scope)
    stored = await _stored_terms(scope)
    different = [
        {"budget_id": budget_id, "stored": str(stored.get(budget_id)), "logged": str(terms)}
        for budget_id, terms in logged.items()
        if _changes(stored.get(budget_id, [])) != _changes(terms)
    ]
    return different[: scope.most_rows]


async def _load_terms(scope: Scope) -> dict[int, History]:
    """Return what budgets allowed and allow: as the log shows, else as stored."""
    return {**await _stored_terms(scope), **await _logged_terms(scope)}


async def _logged_terms(scope: Scope) -> dict[int, History]:
    found: dict[int, History] = defaultdict(list)
    erasures = (await scope.connection.execute(text(_ERASURES), scope.parameters)).all()
    for row in (await scope.connection.execute(text(_LOGGED), scope.parameters)).all():
        pseudonyms = {each.user_id: each.pseudonym for each in erasures if row.audit_id <= each.last_id}
        state = parsed(row.after)
        cap = state["rollover"]
        terms = Terms(
            row.booked_at, _shown(state["limits"]), None if cap is None else _shown(cap),
            _shown_overrides(state.get("overrides") or (), pseudonyms),
        )  # fmt: skip
        found[row.budget_id].append((row.audit_id, terms))
    return found


async def _stored_terms(scope: Scope) -> dict[int, History]:
    found: dict[int, History] = defaultdict(list)
    for _, budget_id, terms_id, *row in await scope.connection.execute(text(_STORED), scope.parameters):
        found[budget_id].append((terms_id, TERMS.read((None, *row))))
    return found


def _changes(history: History) -> list[Terms]:
    """Return terms without those that say what the ones before them said."""
    changes: list[Terms] = []
    for _, each in history:
        last = changes[-1] if changes else None
        if last is None or (last.limits, last.rollover, last.overrides) != (
            each.limits, each.rollover, each.overrides,
        ):  # fmt: skip
            changes.append(each)
    return changes


def _expected(row: RowMapping, opened: _Opened, history: History, calendar: Calendar) -> Limits:
    earlier, window = opened.earlier, Window(row["window"] or Window.RUN)
    if window in (Window.RUN, Window.TOTAL) or earlier is None or not earlier["earns"]:
        return Limits()
    known = [terms for decided_id, terms in history if decided_id < row["account_id"]] or [
        terms for _, terms in history[:1]
    ]
    if not known or known[-1].rollover is None:
        return Limits()
    before = _account(earlier, _limits(row, "base"))
    before.change_limits(_difference(_limits(row, "limit"), before.limits))
    before.settle(row["used_tokens"], row["used_nanos"], row["used_calls"])
    return rolled_over(window, known, before, _account(opened.row, _limits(row, "opening")), calendar)


def _account(row: RowMapping, limits: Limits) -> Account:
    return Account(
        row["account_id"], row["budget_id"], "", Subject.from_text(row["subject"]), row["window_start"],
        row["window_end"], Enforcement.HARD, Counts.ALL, limits,
    )  # fmt: skip


def _difference(after: Limits, before: Limits) -> Limits:
    pairs = zip(after.amounts, before.amounts, strict=True)
    return Limits(*(None if new is None else new - (old or 0) for new, old in pairs))


def _limits(row: RowMapping, kind: str) -> Limits:
    return Limits(row[f"{kind}_tokens"], row[f"{kind}_nanos"], row[f"{kind}_calls"])


def _shown(amounts: Any) -> Limits:
    """Return limits of the audit log, in which money is text."""
    cost = amounts["cost"]
    return Limits(amounts["tokens"], None if cost is None else parse_money(cost), amounts["calls"])


def _shown_overrides(overrides: Iterable[Any], pseudonyms: Mapping[str, str]) -> Overrides:
    found: list[tuple[Subject, Limits]] = []
    for each in overrides:
        values = dict(each["subject"])
        if "user" in values:
            values["user"] = pseudonyms.get(values["user"], values["user"])
        found.append((Subject(values), Limits() if each["limits"] is None else _shown(each["limits"])))
    return tuple(sorted(found, key=lambda override: override[0].text))


ROLLOVERS = Check("new windows received the rollover of the windows before them", _find_wrong_rollovers)

CHECKS = (
    ROLLOVERS,
    Check("only windows from a subject's first on leave anything to roll over", _find_wrong_earners),
    Check("what budgets allowed is what the audit log shows", _find_wrong_terms),
)
