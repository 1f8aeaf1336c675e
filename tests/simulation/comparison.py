"""Compares the core's answers and books with those of the model after every batch."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.memory import MemoryLedger
from tests.simulation.model import Model
from tests.simulation.model_limits import UNITS, Name
from token_ledger.core.batch import outcomes
from token_ledger.core.batch.commands import Command
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Unit
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.reservation import Reservation

KINDS: dict[type[outcomes.Outcome], str] = {
    outcomes.Granted: "granted",
    outcomes.Denied: "denied",
    outcomes.Settled: "settled",
    outcomes.Released: "released",
    outcomes.Recorded: "recorded",
    outcomes.Extended: "extended",
    outcomes.StepTaken: "step",
    outcomes.GrantAnswer: "grant",
    outcomes.IncreaseAnswer: "increase",
    outcomes.Changed: "changed",
    outcomes.StopAnswer: "stop",
    outcomes.Reversed: "reversed",
    outcomes.PreflightAnswer: "preflight",
    outcomes.Quarantined: "quarantined",
    outcomes.RunAnswer: "run",
    outcomes.BudgetAnswer: "budget",
    outcomes.TriggerAnswer: "trigger",
    outcomes.Swept: "swept",
    outcomes.Refused: "refused",
}
UNCOMPARED = ("accounts", "account", "source", "key", "fingerprint", "ended_id", "_limits_by_subject")
"""Fields that only the batch that booked knows, and ids of expiries, which have no fixed order."""
AMOUNTS = ("input", "output", "cache_read", "cache_write", "reasoning")


class Comparison:
    """One ledger in memory beside one model."""

    def __init__(self, memory: MemoryLedger, model: Model) -> None:
        self.memory, self.model = memory, model
        self.last_id = 0

    # What was answered

    def compare_answers(
        self, now: datetime, commands: Sequence[Command], answers: Sequence[outcomes.Outcome], seen: Counter[str]
    ) -> None:
        """Let the model decide the same batch and compare every answer."""
        self.model.begin_batch(now)
        for command, outcome in zip(commands, answers, strict=True):
            expected = self.model.decide(command)
            assert KINDS[type(outcome)] == expected.kind, (command, outcome, expected)
            self._answer(outcome, expected)
            self._number_accounts()
            seen[expected.kind] += 1
            seen["replayed"] += expected.replayed
            if expected.code:
                seen[f"{expected.kind} {expected.code}"] += 1
            if isinstance(outcome, outcomes.Settled):
                seen["late"] += outcome.event.late
                seen["overrun"] += outcome.event.overrun
                seen["part"] += outcome.event.part
                seen["other model"] += len(outcome.others)
                seen["other model again"] += any(other.is_duplicate for other in outcome.others)
            if isinstance(outcome, outcomes.Settled | outcomes.Recorded) and not outcome.replayed:
                seen[outcome.event.repetition or "no response"] += 1
                seen["assumed"] += any(use.assumed_by for use in outcome.event.others)
                seen[outcome.event.kind or "llm_call"] += 1
            if isinstance(outcome, outcomes.Granted):
                seen["lease"] += outcome.reservation.lease
                if (said := outcome.reservation.announced) is not None:
                    unpriced = set(said.without_price)
                    seen["held other kinds"] += not unpriced.issuperset(kind for kind, _ in said.max_usage)
                    seen["without a price"] += bool(unpriced)
                    seen["served in a tier"] += said.service_tier is not None and "service_tier" not in unpriced
                seen["warned"] += outcome.reservation.warnings is not None
                seen["downgraded"] += outcome.reservation.facts.model != outcome.reservation.requested.model

    def _answer(self, outcome: outcomes.Outcome, expected: Expected) -> None:
        thing = expected.thing
        code = outcome.denial.code if isinstance(outcome, outcomes.Denied) else getattr(outcome, "code", None)
        assert code == expected.code, (outcome, expected)
        if isinstance(outcome, outcomes.PreflightAnswer):
            assert thing is not None
            refusal = outcome.refusal
            code = refusal.denial.code if isinstance(refusal, outcomes.Denied) else refusal.code if refusal else None
            assert (outcome.fits, code) == (thing["fits"], thing["stopped_by"])
            return
        if isinstance(outcome, outcomes.Refused | outcomes.Swept):
            return
        assert outcome.replayed is expected.replayed
        assert thing is not None
        number = _id_of(outcome)
        if expected.replayed:
            assert number == thing["id"]
        elif not isinstance(outcome, outcomes.Released | outcomes.Extended) and "id" not in thing:
            # Ids rise in the order of the decisions, within a batch and from batch to batch.
            assert number > self.last_id
            assert number >> 16 == self.memory.sequence
            self.last_id = thing["id"] = number
            self._bind(outcome, thing, number)
        match outcome:
            case outcomes.Granted(reservation):
                self._granted(reservation, thing)
            case outcomes.Denied(denial):
                assert denial.fits_output_tokens == thing["fits"], (denial, thing)
                assert self._refusals(denial.refusals) == set(thing["refusing"])
            case outcomes.Settled(event, others=others):
                self._event(event, thing)
                for other, booked in zip(others, thing["others"], strict=True):
                    assert other.event_id > self.last_id or expected.replayed
                    self.last_id = max(self.last_id, other.event_id)
                    assert booked.setdefault("id", other.event_id) == other.event_id
                    self._event(other, booked)
            case outcomes.Recorded(event):
                self._event(event, thing)
            case outcomes.Extended(reservation):
                assert reservation.expires_at == thing["expires_at"] or expected.replayed
            case outcomes.RunAnswer(run) if not expected.replayed:
                if "splitting" in thing:
                    self.model.bind_split(thing, dict(run.allocated))
                assert (run.iterations, run.limit_iterations) == (thing["iterations"], thing["limit_iterations"])
                assert (run.user, run.cost_center) == (thing["user"], thing["cost_center"])
            case outcomes.StepTaken(step):
                assert step.iteration == thing["iteration"]
            case outcomes.GrantAnswer(grant) if not expected.replayed:
                assert grant.expires_at == thing["until"]
            case outcomes.Reversed(entry):
                taken_back = {int(of): int(number) for number, of in entry.after["corrections"].items()}
                assert taken_back.keys() == thing["corrections"].keys()
                for of, correction in thing["corrections"].items():
                    self._event(self.memory.rows.events[taken_back[of]], correction)
            case outcomes.StopAnswer(_, stopped):
                assert stopped == self.model.stopped
            case outcomes.IncreaseAnswer(increase):
                assert increase.state == thing["state"]
        if isinstance(outcome, outcomes.Settled) and not expected.replayed:
            assert outcome.stop == thing["stop"]

    def _number_accounts(self) -> None:
        for number in self.memory.accounts.keys() - self.model.numbered.keys():
            account = self.memory.accounts[number]
            # The budget of a later command of the same batch has no id in the model yet.
            if account.budget_id == 0 or any(b.get("id") == account.budget_id for b in self.model.budgets):
                name = self.name(account)
                if name in self.model.accounts:
                    self.model.numbered[number] = name

    def _bind(self, outcome: outcomes.Outcome, thing: dict[str, Any], number: int) -> None:
        if isinstance(outcome, outcomes.Granted):
            self.model.holds[number] = thing
        elif isinstance(outcome, outcomes.RunAnswer):
            self.model.bind_run(thing, number, dict(outcome.run.allocated))
        elif isinstance(outcome, outcomes.IncreaseAnswer):
            self.model.increases[number] = thing

    def _granted(self, reservation: Reservation, hold: dict[str, Any]) -> None:
        held = hold["held"]
        assert (
            reservation.held_tokens, reservation.held_uncached_tokens, reservation.held_nanos, reservation.held_calls,
        ) == (held["tokens"], held["uncached"], held["cost"], held["calls"])  # fmt: skip
        said = reservation.announced
        announced = None if said is None else (said.max_usage, said.service_tier, said.without_price)
        assert announced == hold["announced"]
        assert reservation.facts.model == hold["facts"]["model"]
        assert reservation.expires_at == hold["expires_at"]
        assert self._path(reservation.path) == set(hold["names"])
        assert self._refusals(reservation.warnings) == set(hold["warnings"])
        advice = [
            {"technique": a.technique, "applied": a.applied, "model": a.downgrade and a.downgrade.to_model}
            for a in reservation.advice
        ]
        assert sorted(advice, key=str) == sorted(hold["advice"], key=str)

    def _event(self, event: UsageEvent, thing: dict[str, Any]) -> None:
        assert event.cost_nanos == thing["cost"]
        assert (event.late, event.overrun) == (thing["late"], thing["overrun"]), (event, thing)
        assert (event.unpriced, event.clamped) == (thing["unpriced"], thing["clamped"])
        assert (event.occurred_at, event.posted_at) == (thing["said"], thing["at"])
        assert (event.usage.total_tokens, event.calls) == (thing["tokens"], thing["calls"])
        if event.corrects is None:
            assert (event.repetition, event.earlier_event_id) == (thing["repetition"], thing["earlier"])
        assert event.kind == thing.get("kind")
        saved = None if event.details is None else event.details.saved
        assert (None if saved is None else saved.nanos) == thing.get("saved")
        assert self._path(event.path) == set(thing["names"])

    def _refusals(self, refusals: Sequence[Refusal]) -> set[tuple[Name, str]]:
        return {(self.name(self.memory.accounts[refusal.account_id]), refusal.unit) for refusal in refusals}

    # What is in the books

    def books(self) -> None:
        """Compare everything that is kept, and check the invariants on the core's own rows."""
        self._balances()
        self._states()
        self._sums_of_events()
        self._roll_ups()
        self._journals()

    def _journals(self) -> None:
        """Limits are the sums of their journal, thresholds and steps are those of the model."""
        sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        bounds: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in self.memory.limit_entries:
            for place, (by, bound) in enumerate(zip(entry.by.amounts, entry.bounds, strict=True)):
                sums[entry.account_id][place] += by or 0
                bounds[entry.account_id][place] += bound
                # An account has a limit in a unit or it has none, and where it has none nothing is left of one.
                assert bounds[entry.account_id][place] in (0, 1)
                assert bounds[entry.account_id][place] or not sums[entry.account_id][place]
        for number, account in self.memory.accounts.items():
            pairs = zip(sums[number], bounds[number], strict=True)
            assert list(account.limits.amounts) == [total if bound else None for total, bound in pairs]
        told: dict[Name, list[tuple[str, int, bool, bool]]] = defaultdict(list)
        for each in self.memory.thresholds:
            noted = each.unit.value, each.percent, each.fired, each.withdrawn
            told[self.name(self.memory.accounts[each.account_id])].append(noted)
        for name, balance in self.model.accounts.items():
            for unit in UNITS:
                assert _of(unit, told[name]) == _of(unit, balance.told), name
        steps = Counter(step.run_id for step in self.memory.rows.steps.values())
        for number, run in self.memory.rows.runs.items():
            parts = [r.run_id for r in self.memory.rows.runs.values() if number in r.lineage]
            assert run.iterations == sum(steps[part] for part in parts)
        used: dict[Any, list[int]] = {}
        for event in self.memory.rows.events.values():
            if event.facts.run_id is not None:
                key = (event.facts.run_id, event.facts.agent_type, event.facts.tool or "", event.facts.model)
                amounts = [event.calls, event.usage.input_tokens, event.usage.output_tokens, event.cost_nanos]
                _add(used, key, amounts)
        found = {key: [a[0], a[1], a[2], a[6]] for key, a in self.memory.run_usage.items()}
        assert found == used

    def name(self, account: Account) -> Name:
        """Return the model's name for an account of the core."""
        subject = dict(account.subject.pairs)
        if account.budget_id == 0:
            return "run", int(subject["run"]), subject.get("agent_type")
        assert any(budget.get("id") == account.budget_id for budget in self.model.budgets)
        return "budget", account.budget_id, frozenset(subject.items()), account.window_start

    def _path(self, path: Sequence[int]) -> set[Name]:
        assert len(set(path)) == len(path), "a call falls on an account once"
        return {self.name(self.memory.accounts[number]) for number in path}

    def _balances(self) -> None:
        names = set()
        for account in self.memory.accounts.values():
            name = self.name(account)
            assert name not in names, "an account is (budget, subject, window): there is one of each"
            names.add(name)
            expected = self.model.accounts.get(name)
            for unit in UNITS:
                limit, settled, held = account.figures(Unit(unit))
                if expected is None:
                    assert settled == held == 0
                    continue
                assert (limit, settled, held) == (expected.limit[unit], expected.settled[unit], expected.held[unit]), (
                    name
                )
                # A hard account holds more than it has room for only because of what was booked beyond holds.
                if limit is not None and expected.hard and not expected.shrunk:
                    assert settled + held <= limit + expected.excess[unit]
            if expected is not None:
                assert (account.leases, account.closed_at is not None) == (expected.leases, expected.closed)
                assert account.window_end == expected.end
        assert set(self.model.accounts) <= names

    def _states(self) -> None:
        found = {number: r.state.value for number, r in self.memory.rows.reservations.items()}
        assert found == {number: hold["state"] for number, hold in self.model.holds.items()}
        runs = {number: run.state.value for number, run in self.memory.rows.runs.items()}
        assert runs == {number: run["state"] for number, run in self.model.runs.items()}

    def _sums_of_events(self) -> None:
        """Settled balances are the sums of events and transfers, and everything used is booked in full."""
        tokens: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for event in self.memory.rows.events.values():
            for number in event.path:
                uncached = self.memory.accounts[number].counts == "uncached"
                counted = event.usage.input_tokens + event.usage.output_tokens
                counted -= event.usage.cache_read_tokens if uncached else 0
                for position, amount in enumerate((counted, event.cost_nanos, event.calls)):
                    tokens[number][position] += amount
        for transfer in (each for transfers in self.memory.rows.transfers.values() for each in transfers):
            for position, amount in enumerate(transfer.settled):
                tokens[transfer.from_account][position] -= amount
                tokens[transfer.to_account][position] += amount
        for account in self.memory.accounts.values():
            assert [account.figures(unit)[1] for unit in Unit] == tokens[account.account_id]
        for run_id in self.model.runs:
            events = [
                event for event in self.model.events
                if event["run"] and run_id in (event["run"], *self.model.runs[event["run"]]["ancestors"])
            ]  # fmt: skip
            balance = self.model.accounts["run", run_id, None]
            assert balance.settled == {
                "tokens": sum(event["tokens"] for event in events),
                "cost": sum(event["cost"] for event in events),
                "calls": sum(event["calls"] for event in events),
            }
        booked = list(self.memory.rows.events.values())
        assert sum(event.cost_nanos for event in booked) == sum(event["cost"] for event in self.model.events)
        assert len(booked) == len(self.model.events)

    def _roll_ups(self) -> None:
        calendar = self.model.calendar
        expected: dict[Any, list[int]] = {}
        expected_tags: dict[Any, list[int]] = {}
        for event in self.model.events:
            hour, day = calendar.hour(event["at"]), calendar.day(event["at"])
            facts, usage = event["facts"], dict(event["usage"])
            usage["cache_write"] = usage["cache_write_5m"] + usage["cache_write_1h"]
            amounts = [event["calls"], *(usage[kind] for kind in AMOUNTS), event["cost"]]
            names = (facts[name] for name in ("cost_center", "user", "agent_type", "model", "request_type"))
            _add(expected, (hour, day, *names), amounts)
            for tag, value in event["tags"]:
                _add(expected_tags, (day, tag, value), amounts)
        assert self.memory.hourly_daily == expected
        assert self.memory.daily_tags == expected_tags

    # Another ledger's answers

    @staticmethod
    def same_outcomes(answers: Sequence[outcomes.Outcome], decided: Sequence[outcomes.Outcome]) -> None:
        """Compare the answers of two ledgers to the same batch."""
        for outcome, other in zip(answers, decided, strict=True):
            assert type(outcome) is type(other)
            assert list(differences(plain(outcome)[1], plain(other)[1])) == []


def differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Say where two plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differences(one.get(name), other.get(name), f"{at}.{name}")
    elif isinstance(one, tuple) and isinstance(other, tuple):
        yield from differences(one[1], other[1], at)
    elif one != other:
        yield f"{at}: {one!r} is not {other!r}"


def plain(value: Any) -> Any:
    """Return a value that compares by content: lists sorted, balances left out."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name not in UNCOMPARED}
        return type(value).__name__, named
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list | tuple):
        return sorted((plain(inner) for inner in value), key=repr)
    return value


def _id_of(outcome: outcomes.Outcome) -> int:
    match outcome:
        case outcomes.Granted(reservation) | outcomes.Released(reservation):
            return reservation.reservation_id
        case outcomes.Denied(denial):
            return denial.denial_id
        case outcomes.Settled(event) | outcomes.Recorded(event):
            return event.event_id
        case outcomes.Quarantined(quarantine_id):
            return quarantine_id
        case outcomes.RunAnswer(run):
            return run.run_id
        case outcomes.BudgetAnswer(budget):
            return budget.budget_id
        case outcomes.TriggerAnswer(trigger):
            return trigger.trigger_id
        case outcomes.StepTaken(step):
            return step.step_id
        case outcomes.GrantAnswer(grant):
            return grant.grant_id
        case outcomes.IncreaseAnswer(increase):
            return increase.increase_id
        case outcomes.Changed(entry) | outcomes.StopAnswer(entry) | outcomes.Reversed(entry):
            return entry.audit_id
        case outcomes.Extended(reservation):
            return reservation.reservation_id
    raise AssertionError(f"{outcome} has no id")


def _add(sums: dict[Any, list[int]], key: Any, amounts: Sequence[int]) -> None:
    sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(amounts)), amounts, strict=True)]


def _of(unit: str, told: Sequence[tuple[str, int, bool, bool]]) -> list[tuple[int, bool, bool]]:
    return [(percent, fired, gone) for told_unit, percent, fired, gone in told if told_unit == unit]
