"""Check: calls are held and booked on exactly the accounts of the budgets that select them.

The core's selectors are applied again, to each combination of facts and accounts once.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import RowMapping, text

from token_ledger.core.model.budget import Budget
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.event import counts_on
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.transfer import Transfers, place_of
from token_ledger.core.model.window import Calendar
from token_ledger.proof.check import Check, Row, Scope, sql_check
from token_ledger.proof.transfers import load_transfers
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.json_columns import pairs_from
from token_ledger.storage.rows import BUDGET
from token_ledger.storage.schema.columns import FACTS

# An event with a hold was decided on by the budgets that there were when it was held. Alike rows are looked at together
# if no transfer lies between them; imported ones only if they are of one instant, as only ended windows have them.
_PLACED = f"""
with placed as (
    select 'hold' as of, reservation_id as id, reservation_id as booked_id, {", ".join(FACTS)}, path, path as held_path,
           null::timestamptz as counts_since, null::timestamptz as posted_at, null::timestamptz as booked_at
    from reservations where tenant_id = :tenant
    union all
    select 'event', coalesce(reservation_id, event_id), event_id, {", ".join(FACTS)}, path, coalesce(held_path, path),
           counts_since, case when counts_since is not null then posted_at end,
           case when counts_since is not null then booked_at end
    from usage_events where tenant_id = :tenant and event_id > :cut and corrects is null and recosts is null
), moves as (
    select coalesce(array_agg(transfer_id order by transfer_id), '{{}}') as ids from transfers where tenant_id = :tenant
)
select of, {", ".join(FACTS)}, path, held_path, counts_since, posted_at, booked_at,
       min(id) as first_id, max(id) as last_id, min(booked_id) as booked_id
from placed cross join moves as m
group by of, {", ".join(FACTS)}, path, held_path, counts_since, posted_at, booked_at,
         width_bucket(id, m.ids), width_bucket(booked_id, m.ids)
"""
_ACCOUNTS = "select account_id, budget_id, subject from accounts where tenant_id = :tenant and budget_id <> 0"
_BUDGETS = f"select {BUDGET.select()}, archived_at from budgets where tenant_id = :tenant"
_RUNS = "select run_id, ancestors from runs where tenant_id = :tenant"
_ERASURES = "select user_id, pseudonym from erasures where tenant_id = :tenant"

Place = tuple[int, str]
"""A budget, and the subject that a call stands for in it."""

GONE: Place = (-1, "{}")
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Books:
    """What the selectors are applied to."""

    calendar: Calendar
    budgets: Mapping[int, Budget]
    archived: frozenset[int]
    accounts: Mapping[int, Place]
    transfers: Transfers
    lineages: Mapping[int, tuple[int, ...]]
    pseudonyms: Mapping[str, str]
    budget_ids: list[int]
    """Ascending."""
    _selected: dict[tuple[CallFacts, int], frozenset[Place]] = field(default_factory=dict)

    def places_of(self, row: RowMapping, allowed: Set[Place]) -> set[Place]:
        """Return where a call was booked: an account stands for those of the hold that went to it, or for itself.

        An account of the hold that has not what was put on it any more is a place of no budget.
        """
        places = set()
        held = {place_of(each, row["first_id"], self.transfers, row["booked_id"]): each for each in row["held_path"]}
        for account_id in row["path"]:
            is_gone = account_id in row["held_path"] and account_id not in held
            itself = GONE if is_gone else self.accounts.get(account_id)
            origin = self.accounts.get(held.get(account_id, account_id))
            # A call may be served by the very model that the account of its hold went to.
            place = origin if origin in allowed and not is_gone else itself
            if place is not None:
                places.add(place)
        return places

    def needed(self, facts: CallFacts, before: int) -> set[Place]:
        """Return where a call falls, whichever name its user has, by the budgets made before a decision."""
        places = self._selecting(facts, before) & self._selecting(self._of_pseudonym(facts), before)
        return {place for place in places if place[0] not in self.archived}

    def allowed(self, facts: CallFacts, before: int) -> frozenset[Place]:
        """Return where a call falls by either name of its user."""
        return self._selecting(facts, before) | self._selecting(self._of_pseudonym(facts), before)

    def counting(self, row: RowMapping, places: Set[Place]) -> Set[Place]:
        """Return those of the places on which a call counts: all, unless it was imported."""
        if row["counts_since"] is None:
            return places
        windows = {place: self.budgets[place[0]].window for place in places}
        ends = {window: self.calendar.bounds(window, row["posted_at"])[1] for window in windows.values()}
        since, booked_at = row["counts_since"], row["booked_at"]
        return {place for place in places if counts_on(ends[windows[place]], since, booked_at)}

    def _of_pseudonym(self, facts: CallFacts) -> CallFacts:
        return facts._replace(user=self.pseudonyms.get(facts.user, facts.user))

    def _selecting(self, facts: CallFacts, before: int) -> frozenset[Place]:
        """Return where a call falls by the budgets with lower ids; the same calls come again and again."""
        asked = facts, bisect_left(self.budget_ids, before)
        found = self._selected.get(asked)
        if found is None:
            if len(self._selected) >= _REMEMBERED:
                self._selected.clear()
            found = self._selected[asked] = self._select(facts, before)
        return found

    def _select(self, facts: CallFacts, before: int) -> frozenset[Place]:
        budgets = tuple(budget for budget_id, budget in self.budgets.items() if budget_id < before)
        config = TenantConfig(TenantId(0), 0, self.calendar, budgets)
        lineage = () if facts.run_id is None else self.lineages.get(facts.run_id, (facts.run_id,))
        matches = config.matches(facts, lineage)
        return frozenset((budget.budget_id, self.renamed(subject.text)) for budget, subject in matches)

    def renamed(self, subject: str) -> str:
        """Return a subject with the pseudonym of a user who is being erased: some rows have that and some the name."""
        values = dict(Subject.from_text(subject).pairs)
        if "user" in values:
            user = self.pseudonyms.get(values["user"], values["user"])
            # An account whose place was taken meanwhile has its own id behind the pseudonym.
            values["user"] = user.rsplit("-", 1)[0] if user.startswith("erased-") and user.count("-") > 1 else user
        return Subject(values).text


async def _find_misplaced(scope: Scope) -> list[Row]:
    """Return what is on accounts that do not select it, or not on those that do."""
    books = await _load(scope)
    wrong: list[Row] = []
    async with scope.connection.stream(text(_PLACED), scope.parameters) as rows:
        async for row in rows.mappings():
            facts = _facts(row)
            allowed = books.counting(row, books.allowed(facts, row["last_id"]))
            found = books.places_of(row, allowed)
            # A budget that was made or archived meanwhile may have some of these calls.
            missing = books.counting(row, books.needed(facts, row["first_id"])) - found
            besides = found - allowed
            if row["of"] == "event":  # what a call was held on stays on it where the budget was archived meanwhile
                besides = {place for place in besides if place[0] not in books.archived}
            if missing or besides:
                wrong.append({**row, "missing": sorted(missing), "besides": sorted(besides)})
            if len(wrong) == scope.most_rows:
                break
    return wrong


async def _load(scope: Scope) -> _Books:
    async def rows(query: str) -> Iterable[Any]:
        return (await scope.connection.execute(text(query), scope.parameters)).all()

    calendar, _ = await load_calendar(scope.connection, scope.parameters["tenant"])
    erased = {row.user_id: row.pseudonym for row in await rows(_ERASURES)}
    budgets = [(BUDGET.read(row), row.archived_at) for row in await rows(_BUDGETS)]
    books = _Books(
        calendar,
        {budget.budget_id: budget for budget, _ in budgets},
        frozenset(budget.budget_id for budget, archived_at in budgets if archived_at is not None),
        {},
        await load_transfers(scope),
        {run_id: (*ancestors, run_id) for run_id, ancestors in await rows(_RUNS)},
        erased,
        sorted(budget.budget_id for budget, _ in budgets),
    )
    places = {row.account_id: (row.budget_id, books.renamed(row.subject)) for row in await rows(_ACCOUNTS)}
    return replace(books, accounts=places)


def _facts(row: RowMapping) -> CallFacts:
    values: list[Any] = [row[name] for name in FACTS]
    tags = values.pop()
    return CallFacts(*values, pairs_from(tags) if tags else ())  # type: ignore[call-arg]


# Indexes lead to them by these columns, because row-level security allows none on an expression.
_FOUND_BY = """
select account_id, budget, subject, subject_user, subject_run from accounts
where tenant_id = :tenant
  and (subject_user, subject_run) is distinct from (subject::jsonb ->> 'user', subject::jsonb ->> 'run')
"""

CHECKS = (
    Check("calls are on exactly the accounts of the budgets that select them", _find_misplaced),
    sql_check("accounts are found by the user and the run of their subject", _FOUND_BY),
)
