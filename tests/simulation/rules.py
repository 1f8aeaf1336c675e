"""The rules of the simulation: commands gather, a commit decides them, then everything is compared with the model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from tests.simulation import commands as calls
from tests.simulation import commands_admin as admin
from tests.simulation.comparison import Comparison
from tests.simulation.memory import MemoryLedger
from tests.simulation.model import Model
from tests.simulation.price_list import core_price_book
from token_ledger.core.batch import administration
from token_ledger.core.batch.commands import (
    Command,
    EndRun,
    ExpireDue,
    OpenRun,
    Record,
    Release,
    Reserve,
    Settle,
    Step,
)
from token_ledger.core.batch.idempotency import KeyedCommand
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Counts, Enforcement, Limits
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

STARTS = (
    ("UTC", datetime(2026, 12, 31, 22, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 28, 22, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 21, 0, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 1, 0, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 0, 30, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 1, 31, 17, 0, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 2, 28, 17, 0, tzinfo=UTC)),
)
SECONDS = st.sampled_from((0,) * 12 + (1, 59, 60, 300, 3_600, 7_200, 86_400, 40 * 86_400))
OFFSETS = st.sampled_from((None, None, 0, -1, -30, -3_600, -10 * 86_400, -35 * 86_400, -36 * 86_400, 300, 301))
TRAFFIC = st.sampled_from(
    ("reserve",) * 5
    + ("just fitting",) * 2
    + ("settle",) * 5
    + ("lease",) * 2
    + ("record", "release", "repeat", "end", "step", "extend", "preflight")
)
recent = st.one_of(st.integers(0, 5), st.integers(0, 50))

seen: Counter[str] = Counter()
"""How often each decision was reached: a simulation that never reaches one proves nothing about it."""


class LedgerRules(RuleBasedStateMachine):
    """Callers of one tenant. Subclasses say where the batches run."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Command] = []
        self.sent: list[Command] = []
        self.hold_ids: list[int] = []
        self.run_ids: list[int] = []
        self.budget_ids: list[int] = []

    @initialize(start=st.sampled_from(STARTS), setup=calls.setups)
    def begin(self, start: tuple[str, datetime], setup: list[Command]) -> None:
        zone, self.clock = start
        self.open_books(zone, core_price_book(self.clock), self.clock)
        for command in setup:
            self.ask(command)
        self.commit(0)

    def open_books(self, zone: str, prices: PriceBook, anchor: datetime) -> None:
        self.memory = MemoryLedger(prices, ZoneInfo(zone))
        self.model = Model(ZoneInfo(zone), anchor)
        self.comparison = Comparison(self.memory, self.model)

    def ask(self, command: Command) -> None:
        """Let a command wait for the next batch, under a key of its own unless it has one."""
        if isinstance(command, KeyedCommand) and not command.key:
            command = calls.sealed(replace(command, key=f"key-{len(self.sent)}"))
            self.sent.append(command)
        self.pending.append(command)

    @rule(data=st.data(), kinds=st.lists(TRAFFIC, min_size=2, max_size=8))
    def traffic(self, data: st.DataObject, kinds: list[str]) -> None:
        """Let callers reserve, settle, release and record, and decide that with the waiting commands."""
        for kind in kinds:
            self.ask(data.draw(self.call(kind)))
        self.commit(data.draw(SECONDS))

    @rule(data=st.data(), kinds=st.lists(TRAFFIC, min_size=1, max_size=4))
    def gather(self, data: st.DataObject, kinds: list[str]) -> None:
        """The same, but let it wait, so that other commands come into its batch."""
        for kind in kinds:
            self.ask(data.draw(self.call(kind)))

    @rule(data=st.data(), kind=st.sampled_from(("settle", "settle", "record")))
    def book(self, data: st.DataObject, kind: str) -> None:
        """Book one call on top of all before."""
        self.ask(data.draw(self.call("reserve")))
        self.commit(0)
        self.ask(data.draw(self.call(kind)))
        self.commit(0)

    def call(self, kind: str) -> st.SearchStrategy[Command]:
        """Return a command of a kind; a reserve where there is no hold to end or no limit to reach."""
        reserves, rooms = calls.reserves(tuple(self.run_ids)), self.rooms()
        moments = OFFSETS.map(self.moment)
        hold_ids = recent.map(lambda pick: self.hold_ids[-1 - pick % len(self.hold_ids)])
        held = [number for number in self.hold_ids if self.model.holds[number]["state"] == "held"]
        if held:
            hold_ids = st.one_of(st.sampled_from(held), st.sampled_from(held), hold_ids)
        match kind:
            case "just fitting" if rooms:
                outputs = st.tuples(st.sampled_from(rooms), st.sampled_from((0, 1))).map(sum)
                return st.builds(_with_output, reserves, outputs)
            case "repeat" if self.sent:
                return st.sampled_from(self.sent[-6:])
            case "end" if self.run_ids:
                return st.sampled_from(self.run_ids).map(lambda run_id: EndRun("", b"", run_id, RunState.CANCELLED))
            case "record":
                return st.builds(_at, calls.records(tuple(self.run_ids)), moments)
            case "lease":
                return calls.leases(tuple(self.run_ids))
            case "preflight":
                return calls.preflights(tuple(self.run_ids))
            case "step" if self.run_ids:
                return admin.steps(self.run_ids)
            case "extend" if self.hold_ids:
                return admin.extensions(self.hold_ids)
            case "release" if self.hold_ids:
                return st.builds(Release, st.just(""), st.just(b""), hold_ids)
            case "settle" if self.hold_ids:
                return st.builds(_at, hold_ids.flatmap(calls.settles), moments)
        return reserves

    def rooms(self) -> list[int]:
        """Return the tokens that the accounts have room for, so that a call can exceed them by one."""
        accounts = [(a.limit["tokens"], a.settled["tokens"] + a.held["tokens"]) for a in self.model.accounts.values()]
        return sorted({limit - used for limit, used in accounts if limit is not None and limit >= used})

    @rule(
        data=st.data(),
        kind=st.sampled_from(("run", "run", "end", "budget", "replace", "archive", "trigger", "nothing")),
    )
    def administer(self, data: st.DataObject, kind: str) -> None:
        """Change what the tenant has set up, or name something that does not exist."""
        pick = data.draw(recent)
        match kind:
            case "run":
                self.ask(data.draw(calls.opened_runs(tuple(self.run_ids))))
            case "end" if self.run_ids:
                state = data.draw(st.sampled_from((RunState.CLOSED, RunState.CANCELLED)))
                self.ask(EndRun("", b"", self.run_ids[-1 - pick % len(self.run_ids)], state))
            case "budget":
                self.ask(data.draw(calls.created_budgets))
            case "replace" if self.budget_ids:
                self.ask(data.draw(calls.replaced_budgets(self.budget_ids[-1 - pick % len(self.budget_ids)])))
            case "archive" if self.budget_ids:
                self.ask(administration.ArchiveBudget("", b"", self.budget_ids[-1 - pick % len(self.budget_ids)]))
            case "trigger":
                self.ask(data.draw(calls.set_triggers))
            case _:
                self.ask(data.draw(calls.about_nothing))

    LIMITS: tuple[str, ...] = (
        "grant",
        "grant",
        "ask",
        "decide",
        "budget",
        "budget",
        "budget",
        "rebalance",
        "run",
        "force",
        "tend",
    )

    @rule(data=st.data(), pick=recent)
    def move_limits(self, data: st.DataObject, pick: int) -> None:
        """Change limits, or end holds."""
        accounts = sorted(self.model.numbered)
        match self.LIMITS[pick % len(self.LIMITS)]:
            case "grant":
                self.ask(data.draw(admin.grants(accounts, self.clock)))
            case "ask":
                self.ask(data.draw(admin.asked_increases(accounts)))
            case "decide":
                self.ask(data.draw(admin.decisions(sorted(self.model.increases), self.clock)))
            case "budget":
                in_use = [budget["id"] for budget in self.model.budgets if budget["in_use"] and "id" in budget]
                self.ask(data.draw(admin.changed_budgets(in_use)))
            case "rebalance":
                self.ask(data.draw(admin.rebalances(self.run_ids)))
            case "run":
                self.ask(data.draw(admin.changed_runs(self.run_ids)))
            case "force":
                self.ask(data.draw(admin.forced_releases(self.hold_ids)))
            case "tend":
                self.pending.append(data.draw(admin.tended(accounts)))

    @precondition(lambda self: self.limited())
    @rule(data=st.data(), picks=st.lists(recent, min_size=1, max_size=3), seconds=SECONDS)
    def give_and_take(self, data: st.DataObject, picks: list[int], seconds: int) -> None:
        """Give some accounts grants, use them, and let them lapse."""
        for pick in picks:
            limited = self.limited()
            number, unit = limited[-1 - pick % len(limited)]
            amount = Limits(**{"nanos" if unit == "cost" else unit: data.draw(st.sampled_from((1, 600, 2_000)))})
            until = self.clock + timedelta(seconds=data.draw(st.sampled_from((3_600, 7_200, 7_200, 90_000))))
            if data.draw(st.booleans()):
                self.ask(administration.GiveGrant("", b"", number, amount, "more", admin.ACTOR, until))
                continue
            self.ask(administration.AskIncrease("", b"", number, amount, "more", "key:agent"))
            self.commit(0)
            until_or_not = data.draw(st.sampled_from((None, until)))
            increase = max(self.model.increases, default=calls.NOTHING)
            self.ask(
                administration.DecideIncrease(
                    "", b"", increase, data.draw(st.booleans()), admin.ACTOR, None, until_or_not
                )
            )
        for kind in ("just fitting", "reserve", "settle"):
            self.ask(data.draw(self.call(kind)))
        self.commit(seconds)

    def limited(self) -> list[tuple[int, str]]:
        """Return the open accounts that have a limit, by number, with the unit."""
        return [
            (number, unit)
            for number, name in sorted(self.model.numbered.items())
            for unit, limit in self.model.accounts[name].limit.items()
            if limit is not None and self.model.accounts[name].is_open(self.clock)
        ]

    @rule(data=st.data(), kind=st.sampled_from(("users", "users", "calendar", "stop", "chain", "names", "names")))
    def rearrange(self, data: st.DataObject, kind: str) -> None:
        """Change users or the calendar, stop everything for a while, or open runs within runs."""
        match kind:
            case "users":
                self.ask(data.draw(admin.set_users(self.clock)))
            case "calendar":
                self.ask(data.draw(admin.set_calendars(self.clock)))
            case "names":
                for kind_of_call in ("reserve", "record"):
                    self.ask(data.draw(self.call(kind_of_call)))
                self.ask(data.draw(admin.renamings))
                self.ask(data.draw(self.call("settle")))
            case "stop":
                self.ask(admin.STOP)
                for each in ("reserve", "settle", "step"):
                    self.ask(data.draw(self.call(each)))
                self.commit(0)
                self.ask(admin.RESUME)
                self.commit(0)
            case "chain":
                for _ in range(data.draw(st.sampled_from((2, 5, 9)))):
                    parent = self.run_ids[-1] if self.run_ids else None
                    user = None if parent else "ada"
                    self.ask(OpenRun("", b"", user, limits=data.draw(calls.limits), parent_run_id=parent))
                    self.commit(0)

    CORNERS = ("iterations", "strict", "lease", "window", "rollover", "decided", "extended", "threshold")

    @rule(data=st.data(), kind=st.sampled_from(CORNERS))
    def corner(self, data: st.DataObject, kind: str) -> None:
        """Lead to decisions that random commands seldom reach."""
        match kind:
            case "iterations":
                self.ask(OpenRun("", b"", "ada", iterations=data.draw(st.sampled_from((1, 2)))))
                self.commit(0)
                for _ in range(3):
                    self.ask(Step("", b"", self.run_ids[-1], None))
                self.commit(0)
            case "strict":
                shares = (Share("writer", 1),)
                self.ask(OpenRun("", b"", "ada", limits=Limits(tokens=9_000), shares=shares, strict=True))
                self.commit(0)
                self.ask(data.draw(calls.reserves(tuple(self.run_ids[-1:]))))
            case "lease":
                self.ask(OpenRun("", b"", "ada", limits=Limits(tokens=data.draw(st.sampled_from((1_500, 4_000))))))
                self.commit(0)
                lease = data.draw(calls.leases(tuple(self.run_ids[-1:])))
                self.ask(replace(lease, input_tokens=700, cached_input_tokens=0, max_output_tokens=300))
                self.commit(0)
            case "window":
                self.ask(data.draw(self.call("settle")))
                self.commit(data.draw(st.sampled_from((7_200, 40 * 86_400))))
                accounts = sorted(self.model.numbered)
                self.pending.append(data.draw(admin.tended(accounts)))
                self.commit(0)
                self.ask(data.draw(admin.grants(accounts, self.clock)))
            case "threshold":
                self.ask(OpenRun("", b"", "ada", limits=Limits(tokens=3_000)))
                self.commit(0)
                run_id = self.run_ids[-1] if self.run_ids else 7
                spent = replace(data.draw(calls.records(())), run_id=run_id, user=None, usage=Usage(1_500, 500))
                self.ask(spent)
                self.commit(0)
                self.ask(administration.ChangeRun("", b"", run_id, Limits(tokens=90_000), None, "more", admin.ACTOR))
                self.commit(0)
            case "rollover":
                carry = (("user", "*"),), Limits(20_000), Window.HOUR, Enforcement.HARD, Counts.ALL, (), Limits(1_500)
                self.ask(administration.CreateBudget("", b"", "carry", *carry))
                for seconds in (0, 3_600):
                    self.ask(data.draw(self.call("reserve")))
                    self.commit(seconds)
            case "decided":
                increases = sorted(self.model.increases)[-1:]
                for _ in range(2):
                    self.ask(data.draw(admin.decisions(increases, self.clock)))
                self.commit(0)
            case "extended":
                self.ask(data.draw(self.call("reserve")))
                self.commit(0)
                self.ask(data.draw(admin.extensions(self.hold_ids[-1:])))

    @rule(picks=st.lists(recent, min_size=1, max_size=3))
    def repeat(self, picks: list[int]) -> None:
        """Send a command again, as a client does when the answer was lost."""
        self.pending.extend(self.sent[-1 - pick % len(self.sent)] for pick in picks if self.sent)

    @precondition(lambda self: self.booked())
    @rule(pick=recent, whole_hold=st.booleans(), other_reason=st.sampled_from((False, False, False, True)))
    def reverse(self, pick: int, whole_hold: bool, other_reason: bool) -> None:
        """Take back what was booked, perhaps for the second time."""
        booked = self.booked()
        command = self.model.booked_under(booked[-1 - pick % len(booked)], whole_hold=whole_hold)
        if other_reason:
            command = replace(command, reason="for another reason")
        # As in the API, the fingerprint is of what is asked for and not of what was found for it.
        command = replace(command, fingerprint=calls.sealed(replace(command, events=())).fingerprint)
        self.pending.append(command)

    def booked(self) -> list[dict[str, Any]]:
        """Return the events that were booked, without those that took back others."""
        return [event for event in self.model.events if "id" in event and "corrects" not in event]

    @precondition(lambda self: any(isinstance(command, Reserve) for command in self.sent))
    @rule(pick=recent)
    def reuse_key(self, pick: int) -> None:
        """Use the key of an earlier reserve for another one."""
        reserves = [command for command in self.sent if isinstance(command, Reserve)]
        command = reserves[-1 - pick % len(reserves)]
        self.pending.append(calls.sealed(replace(command, max_output_tokens=command.max_output_tokens + 1)))

    @precondition(lambda self: any(isinstance(command, Settle | Record) for command in self.sent))
    @rule(pick=recent, failed=st.booleans())
    def contradict(self, pick: int, failed: bool) -> None:
        """Report something else under the key of an earlier report."""
        reports = [command for command in self.sent if isinstance(command, Settle | Record)]
        command = reports[-1 - pick % len(reports)]
        self.pending.append(calls.sealed(replace(command, failed=failed, estimated=not command.estimated)))

    @precondition(lambda self: self.pending or self.hold_ids)
    @rule(seconds=SECONDS)
    def commit(self, seconds: int) -> None:
        """Decide the waiting commands in one batch, and compare."""
        batch, self.pending = self.pending or [ExpireDue()], []
        for now, commands, outcomes in self.run_batch(batch, seconds):
            self.clock = now
            decided = self.memory.batch(now, commands)
            self.comparison.compare_answers(now, commands, decided, seen)
            if outcomes is not None:
                self.comparison.same_outcomes(outcomes, decided)
        self.comparison.books()
        self.after_commit()
        seen["lapsed"] += len(self.model.lapsed)
        seen["rolled over"] += self.model.rolled
        seen["re-armed"] += sum(not told[2] for a in self.model.accounts.values() for told in a.told)
        seen["withdrawn"] += sum(told[3] for a in self.model.accounts.values() for told in a.told)
        seen["closed"] += sum(account.closed for account in self.model.accounts.values())
        seen["carried"] += self.model.carried
        self.model.lapsed, self.model.rolled, self.model.carried = [], 0, 0
        self.hold_ids, self.run_ids = list(self.model.holds), list(self.model.runs)
        self.budget_ids = [budget["id"] for budget in self.model.budgets]

    def after_commit(self) -> None:
        """Compare with another ledger, if the subclass has one."""

    def run_batch(
        self, batch: Sequence[Command], seconds: int
    ) -> list[tuple[datetime, Sequence[Command], Sequence[Outcome] | None]]:
        """Return the batches as they were decided: instant, commands, and outcomes where someone else decided."""
        return [(self.clock + timedelta(seconds=seconds), batch, None)]

    def moment(self, offset: int | None) -> datetime | None:
        return None if offset is None else self.clock + timedelta(seconds=offset)

    def teardown(self) -> None:
        if self.pending:
            self.commit(0)


def _at(command: Settle | Record, occurred_at: datetime | None) -> Command:
    return replace(command, occurred_at=occurred_at)


def _with_output(command: Reserve, tokens: int) -> Command:
    return replace(command, input_tokens=0, cached_input_tokens=0, max_output_tokens=tokens)


def run_simulation(machine: Any, number: int, **options: Any) -> None:
    """Run a machine's examples from a seed; a failure prints the seed, and the blob of the shrunk example."""
    seen.clear()
    print(f"replay with TOKEN_LEDGER_SIMULATION_SEED={number}")
    chosen = settings(deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck), **options)
    run_state_machine_as_test(seed(number)(machine), settings=chosen)
