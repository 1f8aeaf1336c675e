"""Accounts and reports of one period agree, to the nano-dollar, for any mixture of calls.

Budgets that only count have an account per user, model and agent type. After random traffic, in which days pass and
calls are served by other models, late, in parts, on leases, reported afterwards or imported, each account has what the
report of its window has under its subject, with what crossed the ends of the window on leases, and without what was
imported before the window ended or when it was too old. Of models that were renamed meanwhile this holds for all
accounts together between which something was carried.
"""

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.proof.ledger import HOLD, Ledger, open_ledger
from tests.reports.reading import spend_by
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.usage import Figures, Usage
from token_ledger.core.model.window import Window
from token_ledger.proof.verify import verify_database
from token_ledger.reports.dimensions import dimension_named

MODELS = ("gpt-5.4", "GPT-5.4-mini", "gpt-5.4-2026-03-05", "o1-pro", "claude-sonnet-4-5", "Nobody-Knows")
Sums = tuple[int, int, int]
"""Tokens, nano-dollars and calls."""
# A re-costing is on the accounts of its call.
_UNCOUNTED = """
not (counts_since < $5 and $5 <= coalesce((
    select o.booked_at from usage_events as o where o.tenant_id = $1 and o.event_id = usage_events.recosts
), booked_at))
"""
BUDGETS = (("user", Window.DAY), ("model", Window.DAY), ("agent_type", Window.HOUR), ("cost_center", Window.DAY))


class Traffic:
    """Random calls of one tenant."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self.ledger = ledger
        self.random = random.Random(number)
        self.holds: list[int] = []
        self.leases: list[int] = []

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            step = self.random.choice(
                (self._hold,) * 4 + (self._settle,) * 4 + (self._record,) * 4 + (self._import,) * 4
                + (self._lease, self._draw, self._draw, self._part, self._release, self._rename, self._rename)
            )  # fmt: skip
            await step()

    def _call(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "user": pick(("ada", "bob", "eve")), "agent_type": pick(("data", "triage")), "tags": (("team", "core"),),
            "cost_center": pick((None, "research")), "model": pick(MODELS[:-1]),
        }  # fmt: skip

    def _usage(self) -> tuple[int, int, int]:
        read = self.random.choice((0, 100))
        return self.random.randint(read, 2_000), self.random.randint(0, 900), read

    def _instant(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self.random.choice((0, 60, 7_000, 90_000, 400_000, 3_000_000)))

    async def _hold(self) -> None:
        call = {**self._call(), "provider": "openai"}
        call["provider"] = "anthropic" if call["model"].startswith("claude") else "openai"
        self.holds.append(await self.ledger.hold(**call))

    async def _settle(self) -> None:
        if self.holds:
            await self.ledger.settle(self.holds.pop(0), *self._usage(), **self._served())

    async def _part(self) -> None:
        if self.holds:
            await self.ledger.settle(self.holds[0], *self._usage(), part=True, **self._served())

    async def _lease(self) -> None:
        lease = commands.Lease("k", b"x", **{**HOLD, **self._call(), "model": "gpt-5.4"}, calls=5, ttl_seconds=80_000)
        self.leases.append((await self.ledger.ask(lease, outcomes.Granted)).reservation.reservation_id)

    async def _draw(self) -> None:
        if self.leases:
            lease = self.random.choice(self.leases)
            await self.ledger.settle(lease, *self._usage(), part=True, occurred_at=self._instant(), **self._served())

    async def _release(self) -> None:
        if self.holds:
            await self.ledger.ask(commands.Release("k", b"x", self.holds.pop()), object)

    async def _record(self) -> None:
        usage = Usage(*self._usage())
        call = {**self._call(), "model": self.random.choice(MODELS), "provider": "openai"}
        event = commands.Record("k", b"x", event_source="import", usage=usage, occurred_at=self._instant(), **call)
        await self.ledger.ask(event, outcomes.Recorded)

    async def _import(self) -> None:
        ago = self.random.choice((0, 3_600, 90_000, 400_000, 40_000_000))
        since = timedelta(days=self.random.choice((1, 30, 9_000)))
        now = datetime.now(UTC)
        event = commands.Record(
            "k", b"x", event_source="import", usage=Usage(*self._usage()), occurred_at=now - timedelta(seconds=ago),
            counts_since=now - since, provider="openai", **{**self._call(), "model": self.random.choice(MODELS)},
        )  # fmt: skip
        before = await self._open_accounts()
        await self.ledger.ask(event, outcomes.Recorded)
        assert await self._open_accounts() == before

    async def _open_accounts(self) -> list[Any]:
        """Return what stands on the accounts of windows under way."""
        rows: list[Any] = await self.ledger.owner.fetch(
            "select account_id, settled_tokens, settled_nanos, settled_calls, held_tokens from accounts"
            " where tenant_id = $1 and window_end > now() order by account_id", self.ledger.tenant,
        )  # fmt: skip
        return rows

    async def _rename(self) -> None:
        asked = ModelName("openai", self.random.choice(("gpt-5.4", "gpt-5.4-mini", "o1-pro", "GPT-5.4-mini")))
        becomes = ModelName("openai", self.random.choice((*MODELS, "our-own")))
        await self.ledger.ask(administration.RenameModel("k", b"x", asked, becomes, "a test", "root"), object)

    def _served(self) -> dict[str, Any]:
        return {"model": self.random.choice((None, None, *MODELS))}


@pytest.mark.parametrize("number", range(3))
async def test_every_account_has_what_the_report_of_its_window_has(database_url: str, number: int) -> None:
    async with open_ledger(database_url) as ledger:
        for dimension, window in BUDGETS:
            selector, limits = ((dimension, "*"),), Limits(10**12, 10**15, 10**9)
            made = administration.CreateBudget(
                "k", b"x", dimension, selector, limits, window, Enforcement.SHADOW, rollover=limits, actor="root"
            )
            await ledger.ask(made, outcomes.BudgetAnswer)
        await ledger.move_back(60)
        traffic = Traffic(ledger, number)
        for _ in range(3):
            await traffic.run(30)
            await ledger.move_back(1)
        await traffic.run(30)
        assert await ledger.owner.fetchval("select count(*) from transfers") > 0
        for counted in (True, False):
            imported = "select count(*) from usage_events where counts_since is not null and (path <> '{}') = $1"
            assert await ledger.owner.fetchval(imported, counted) > 5
        assert await disagreeing_accounts(ledger) == []
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def disagreeing_accounts(ledger: Ledger) -> list[Any]:
    """Return the accounts that differ from the report of their window, with both."""
    rows = await ledger.owner.fetch("select * from accounts where tenant_id = $1", ledger.tenant)
    assert len(rows) > 30
    wrong = []
    for group in await _together(ledger, {row["account_id"]: row for row in rows}):
        settled = _sum((row["settled_tokens"], row["settled_nanos"], row["settled_calls"]) for row in group)
        reported = _sum([await _reported(ledger, row) for row in group])
        if settled != reported:
            wrong.append(([(row["budget"], row["subject"], row["window_start"]) for row in group], settled, reported))
    return wrong


async def _together(ledger: Ledger, rows: dict[int, Any]) -> list[list[Any]]:
    """Return the accounts, those together between which something was carried."""
    group_of = {number: number for number in rows}
    for one, other in await ledger.owner.fetch("select from_account, to_account from transfers order by transfer_id"):
        joined, into = group_of[one], group_of[other]
        group_of = {number: into if group == joined else group for number, group in group_of.items()}
    groups: dict[int, list[Any]] = {}
    for number, group in group_of.items():
        groups.setdefault(group, []).append(rows[number])
    return [*groups.values()]


async def _reported(ledger: Ledger, row: Any) -> Sums:
    """Return what the report of an account's window has under its subject, with what crossed the ends of the window."""
    [(dimension, value)] = json.loads(row["subject"]).items()
    chosen = ((dimension_named(dimension), (value,)),)
    span = row["window_start"], row["window_end"]
    report = await spend_by(ledger.database, ledger.tenant, dimension, *span, filters=chosen)
    assert report.imported is not None
    assert report.crossed is not None
    assert _figures(report.imported.total) == await _imported(ledger, row, dimension, value, "true")
    uncounted = await _imported(ledger, row, dimension, value, _UNCOUNTED)
    tokens, nanos, calls = uncounted
    return _sum((_figures(report.total), _figures(report.crossed.total), (-tokens, -nanos, -calls)))


async def _imported(ledger: Ledger, row: Any, dimension: str, value: str, where: str) -> Sums:
    """Return the sums of the imported calls in an account's window, under its subject, for which a condition holds."""
    found = await ledger.owner.fetchrow(
        "select coalesce(sum(input_tokens + output_tokens), 0)::bigint, coalesce(sum(cost_nanos), 0)::bigint,"
        " coalesce(sum(calls), 0)::bigint from usage_events"
        f" where tenant_id = $1 and {dimension_named(dimension).text} = $2"
        f" and posted_at >= $3 and posted_at < $4 and counts_since is not null and $5::timestamptz = $4 and {where}",
        ledger.tenant, value, row["window_start"], row["window_end"], row["window_end"],
    )  # fmt: skip
    tokens, nanos, calls = found
    return tokens, nanos, calls


def _figures(sums: Figures) -> Sums:
    return sums.input_tokens + sums.output_tokens, sums.cost_nanos, sums.calls


def _sum(each: Iterable[Sums]) -> Sums:
    tokens, nanos, calls = map(sum, zip(*each, strict=True))
    return tokens, nanos, calls
