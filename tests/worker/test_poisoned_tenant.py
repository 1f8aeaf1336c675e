"""One tenant's rows can't be read or written: every duty, the gauges and the batches go on for all others.

A trigger, or a policy, raises for the rows of one tenant of three: the one between two others.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.cli.doctor import Level, examine
from token_ledger.config import Settings
from token_ledger.core.batch.administration import CreateBudget, EraseUser
from token_ledger.core.batch.outcomes import BudgetAnswer, Changed, Granted
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Window
from token_ledger.observability.metrics import Metrics
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.upkeep import folding
from token_ledger.storage.upkeep.leadership import NotLeading
from token_ledger.storage.write import rollups
from token_ledger.worker.accounts import tend_accounts
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.gauges import refresh_gauges
from token_ledger.worker.holds import expire_due_holds
from token_ledger.worker.retention import Retention
from token_ledger.worker.rollups import RollupFolding
from token_ledger.worker.submission import Submit
from token_ledger.worker.tenants import TenantFailures

NAMES = ("first", "poisoned", "last")
RAISES = {
    "what a rule of the database refuses": "raise exception 'poisoned'",
    "what no command can cause": "raise exception using errcode = 'XX000', message = 'poisoned'",
    "what a command can cause": "raise exception using errcode = '22003', message = 'bigint out of range'",
}


@pytest.fixture
async def ledgers(database_url: str) -> AsyncIterator[list[Ledger]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_ledger(database_url, name, "UTC")) for name in NAMES]


async def _poison_writes(ledger: Ledger, table: str, raises: str) -> None:
    await ledger.owner.execute(
        "create function poison() returns trigger language plpgsql as $$ begin"
        f" if coalesce(new.tenant_id, old.tenant_id) = {ledger.tenant} then {raises}; end if;"
        " return coalesce(new, old); end $$;"
        f"create trigger poison before insert or update or delete on {table} for each row execute function poison()"
    )


async def _poison_reads(ledger: Ledger, table: str) -> None:
    """Let a transaction that may see the tenant fail where it looks at the tenant's rows."""
    await ledger.owner.execute(
        "create function poison(tenant bigint) returns boolean language plpgsql as $$ begin"
        f" if tenant = {ledger.tenant} and tenant = any (current_setting('app.tenants')::bigint[])"
        " then raise exception 'poisoned'; end if; return true; end $$;"
        f"create policy poison on {table} as restrictive to token_ledger_app using (poison(tenant_id))"
    )


async def _a_due_hold(ledger: Ledger) -> None:
    hold = await ledger.hold()
    await ledger.owner.execute(
        "update reservations set expires_at = now() where tenant_id = $1 and reservation_id = $2", ledger.tenant, hold
    )


async def _an_ended_window(ledger: Ledger) -> None:
    await ledger.ask(CreateBudget("k", b"x", "by day", (), Limits(9_000), Window.DAY), BudgetAnswer)
    await _an_event(ledger)
    await ledger.move_back(2)


async def _an_event(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(), 10, 1)


async def _ended_segments(ledger: Ledger) -> None:
    for _ in range(2):
        await _an_event(ledger)


async def _old_events(ledger: Ledger) -> None:
    await _an_event(ledger)
    await ledger.move_back(150)


async def _an_erasure(ledger: Ledger) -> None:
    await _an_event(ledger)
    await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)


@dataclass(frozen=True)
class Case:
    """A duty: what gives it something to do, what counts what is left, and a table that it writes."""

    make: Callable[[Ledger], Awaitable[None]]
    do: Callable[[Ledger, Submit, TenantFailures], Awaitable[None]]
    left: str
    table: str


DUTIES = {
    "expire due holds": Case(
        _a_due_hold,
        lambda ledger, submit, failures: expire_due_holds(ledger.database, submit, failures),
        "select count(*) from reservations where tenant_id = $1 and state = 'held'",
        "reservations",
    ),
    "tend accounts": Case(
        _an_ended_window,
        lambda ledger, submit, failures: tend_accounts(ledger.database, submit, failures),
        "select count(*) from accounts where tenant_id = $1 and closed_at is null",
        "accounts",
    ),
    "fold roll-ups": Case(
        _ended_segments,
        lambda ledger, _, failures: RollupFolding(ledger.database, failures).fold_rollups(),
        "select count(*) from daily_usage as d join tenant_ledgers as l using (tenant_id)"
        " where tenant_id = $1 and segment between 1 and sequence",
        "daily_usage",
    ),
    "erase users": Case(
        _an_erasure,
        lambda ledger, _, failures: Erasures(ledger.database, 0, failures).erase_users(),
        "select count(*) from usage_events where tenant_id = $1 and user_id = 'ada'",
        "usage_events",
    ),
    "drop old months": Case(
        _old_events,
        lambda ledger, _, failures: Retention(ledger.database, 3, failures).drop_months(),
        "select count(*) from reservations where tenant_id = $1",
        "daily_checkpoints",
    ),
}


@pytest.mark.parametrize("raises", RAISES)
@pytest.mark.parametrize("duty", DUTIES)
async def test_a_duty_that_fails_for_one_tenant_is_done_for_all_others(
    duty: str, raises: str, ledgers: list[Ledger], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "SEGMENT_BITS", 0)  # so that there is something to fold
    monkeypatch.setattr(folding, "SEGMENT_BITS", 0)
    case = DUTIES[duty]
    for ledger in ledgers:
        await case.make(ledger)
    poisoned = ledgers[1]
    await _poison_writes(poisoned, case.table, RAISES[raises])

    async def left() -> list[bool]:
        return [await each.owner.fetchval(case.left, each.tenant) > 0 for each in ledgers]

    assert await left() == [True, True, True]
    failed: list[tuple[str, str]] = []
    submit = ledgers[0].commits.submit
    # The clock stands still, so one that has failed is left out until the end.
    failures = TenantFailures(duty, lambda *names: failed.append(names), clock=lambda: 0.0)
    await case.do(poisoned, submit, failures)
    assert await left() == [False, True, False]
    assert failed == [(duty, "poisoned")]
    await case.do(poisoned, submit, failures)
    assert failed == [(duty, "poisoned")]
    await poisoned.owner.execute("drop function poison() cascade")
    await case.do(poisoned, submit, TenantFailures(duty))
    assert await left() == [False, False, False]
    report = await verify_database(database_url)
    assert report.clean, report.as_text()


LOOKED_AT = {
    "expire due holds": "reservations", "tend accounts": "accounts", "fold roll-ups": "daily_usage",
    "erase users": "erasures",
}  # fmt: skip


@pytest.mark.parametrize("duty", LOOKED_AT)
async def test_a_duty_that_can_t_look_at_one_tenant_is_done_for_all_others(
    duty: str, ledgers: list[Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "SEGMENT_BITS", 0)
    monkeypatch.setattr(folding, "SEGMENT_BITS", 0)
    case = DUTIES[duty]
    for ledger in ledgers:
        await case.make(ledger)
    await _poison_reads(ledgers[1], LOOKED_AT[duty])
    failed: list[tuple[str, str]] = []
    failures = TenantFailures(duty, lambda *names: failed.append(names), clock=lambda: 0.0)
    await case.do(ledgers[1], ledgers[0].commits.submit, failures)
    left = [await each.owner.fetchval(case.left, each.tenant) > 0 for each in ledgers]
    assert left == [False, True, False]
    assert failed == [(duty, "poisoned")]


@pytest.mark.parametrize("table", ["accounts", "reservations", "erasures"])
async def test_gauges_are_those_of_all_tenants_that_can_be_read(table: str, ledgers: list[Ledger]) -> None:
    for ledger in ledgers:
        await ledger.ask(CreateBudget("k", b"x", "all", (), Limits(2_000), Window.TOTAL), BudgetAnswer)
        await ledger.hold()
        await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)
    await _poison_reads(ledgers[1], table)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    failures = TenantFailures("refresh gauges", metrics.count_duty_failure)
    await refresh_gauges(ledgers[0].database, metrics, failures)

    def shown(name: str) -> list[str]:
        return [
            sample.labels["tenant"]
            for family in registry.collect()
            for sample in family.samples
            if sample.name == name and sample.value
        ]

    assert sorted(shown("token_ledger_open_holds")) == ["first", "last"]
    assert sorted(shown("token_ledger_budget_used_ratio")) == ["first", "last"]
    assert shown("token_ledger_duty_failures_total") == ["poisoned"]


@pytest.mark.parametrize("raises", RAISES)
async def test_a_batch_of_several_tenants_fails_for_the_one_at_fault_only(raises: str, ledgers: list[Ledger]) -> None:
    await _poison_writes(ledgers[1], "reservations", RAISES[raises])
    commits = ledgers[0].commits
    asked = [commits.submit(each.tenant, reserve(key="a call")) for each in ledgers]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(outcome, Granted) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], Exception)


async def test_doctor_and_verify_tell_of_a_tenant_that_can_t_be_read_and_look_at_the_others(
    ledgers: list[Ledger], database_url: str
) -> None:
    for ledger in ledgers:
        await _an_event(ledger)
        await _a_due_hold(ledger)
    await ledgers[2].owner.execute(
        "update daily_usage set cost_nanos = cost_nanos + 1 where tenant_id = $1", ledgers[2].tenant
    )
    await _poison_reads(ledgers[1], "reservations")
    report = await verify_database(database_url)
    assert {finding.tenant for finding in report.findings} == {"poisoned", "last"}
    assert "it does not hold that its rows can be read" in report.as_text()
    assert "poisoned" in report.as_text()
    findings = {
        each.check: each for each in (await examine(Settings(database_url=database_url), database_url)).findings
    }
    assert findings["books"].level is Level.FAILURE
    assert "poisoned" in findings["books"].found
    assert findings["holds"].level is Level.OK


def test_a_tenant_that_keeps_failing_is_tried_after_longer_and_longer_pauses() -> None:
    now = [0.0]
    failures = TenantFailures("a duty", clock=lambda: now[0])
    names = {TenantId(1): "one", TenantId(2): "other"}
    pauses = []
    for _ in range(9):
        failures.note(TenantId(1), "one", ValueError("poisoned"))
        before = now[0]
        while failures.ready(names) == [2]:
            now[0] += 0.5
        pauses.append(now[0] - before)
    assert pauses[0] < 2
    assert pauses[4] > 10
    assert 50 < pauses[-1] < 70
    failures.done(TenantId(1))
    failures.note(TenantId(1), "one", ValueError("poisoned"))
    now[0] += 2
    assert failures.ready(names) == [1, 2]


@pytest.mark.parametrize("error", [DatabaseAway("away"), NotLeading("frozen")])
async def test_what_is_no_tenant_s_fault_fails_the_whole_duty(error: Exception) -> None:
    failures = TenantFailures("a duty")
    names = {TenantId(1): "one", TenantId(2): "other"}

    async def work(tenants: Sequence[TenantId]) -> None:
        raise error

    with pytest.raises(type(error)):
        await failures.each(names, work)
    with pytest.raises(type(error)), failures.alone(TenantId(1), "one"):
        raise error
    with pytest.raises(type(error)):
        failures.note(TenantId(1), "one", error)
    assert failures.ready(names) == [1, 2]
