"""Compares what the core answered and booked with what the model says it must have, after every batch."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from tests.simulation.memory import MemoryLedger
from tests.simulation.model import UNITS, Expected, Model, Name
from token_ledger.core.account import Account
from token_ledger.core.budget import Unit
from token_ledger.core.commands import Command
from token_ledger.core.event import UsageEvent
from token_ledger.core.outcomes import (
    BudgetAnswer,
    Denied,
    Granted,
    Outcome,
    PreflightAnswer,
    Quarantined,
    Recorded,
    Refused,
    Released,
    RunAnswer,
    Settled,
    Swept,
    TriggerAnswer,
)  # fmt: skip
from token_ledger.core.reservation import Reservation

KINDS: dict[type[Outcome], str] = {
    Granted: "granted", Denied: "denied", Settled: "settled", Released: "released", Recorded: "recorded",
    Quarantined: "quarantined", RunAnswer: "run", BudgetAnswer: "budget", TriggerAnswer: "trigger", Swept: "swept",
    Refused: "refused",
}  # fmt: skip
UNCOMPARED = ("accounts", "source", "key", "fingerprint", "ended_id")
"""What only the batch knows that booked, and the ids of expiries, whose order is free where they are due together."""
AMOUNTS = ("input", "output", "cache_read", "cache_write", "reasoning")


class Comparison:
    """One ledger in memory beside one model."""

    def __init__(self, memory: MemoryLedger, model: Model) -> None:
        self.memory, self.model = memory, model
        self.last_id = 0

    # What was answered

    def outcomes(
        self, now: datetime, commands: Sequence[Command], outcomes: Sequence[Outcome], seen: Counter[str]
    ) -> None:
        """Let the model decide the same batch and compare every answer."""
        self.model.begin_batch(now)
        for command, outcome in zip(commands, outcomes, strict=True):
            expected = self.model.decide(command)
            assert KINDS[type(outcome)] == expected.kind, (command, outcome, expected)
            self._answer(outcome, expected)
            seen[expected.kind] += 1
            seen["replayed"] += expected.replayed
            if expected.code:
                seen[f"{expected.kind} {expected.code}"] += 1
            if isinstance(outcome, Settled):
                seen["late"] += outcome.event.late
                seen["overrun"] += outcome.event.overrun
            if isinstance(outcome, Granted):
                seen["warned"] += outcome.reservation.warnings is not None
                seen["downgraded"] += outcome.reservation.facts.model != outcome.reservation.requested_model

    def _answer(self, outcome: Outcome, expected: Expected) -> None:
        thing = expected.thing
        code = outcome.denial.code if isinstance(outcome, Denied) else getattr(outcome, "code", None)
        assert code == expected.code, (outcome, expected)
        if isinstance(outcome, Refused | Swept | PreflightAnswer):
            return
        assert outcome.replayed is expected.replayed
        assert thing is not None
        number = _id_of(outcome)
        if expected.replayed:
            assert number == thing["id"]
        elif not isinstance(outcome, Released) and "id" not in thing:
            # Ids rise in the order of the decisions, within a batch and from batch to batch (D9).
            assert number > self.last_id
            assert number >> 16 == self.memory.sequence
            self.last_id = thing["id"] = number
            self._bind(outcome, thing, number)
        match outcome:
            case Granted(reservation):
                self._granted(reservation, thing)
            case Denied(denial):
                assert denial.fits_output_tokens == thing["fits"], (denial, thing)
                assert self._refusals(denial.refusals) == set(thing["refusing"])
            case Settled(event) | Recorded(event):
                self._event(event, thing)

    def _bind(self, outcome: Outcome, thing: dict[str, Any], number: int) -> None:
        if isinstance(outcome, Granted):
            self.model.holds[number] = thing
        elif isinstance(outcome, RunAnswer):
            self.model.bind_run(thing, number, outcome.run.allocated)

    def _granted(self, reservation: Reservation, hold: dict[str, Any]) -> None:
        assert (reservation.held_tokens, reservation.held_uncached_tokens, reservation.held_nanos) == (
            hold["tokens"], hold["uncached"], hold["cost"],
        )  # fmt: skip
        assert reservation.facts.model == hold["model"]
        assert reservation.expires_at == hold["expires_at"]
        assert self._path(reservation.path) == set(hold["names"])
        warnings = json.loads(reservation.warnings) if reservation.warnings else []
        assert self._refusals(warnings) == set(hold["warnings"])
        directive = json.loads(reservation.directive) if reservation.directive else {"advice": []}
        advice = [{name: a[name] for name in ("technique", "applied", "model")} for a in directive["advice"]]
        assert sorted(advice, key=str) == sorted(hold["advice"], key=str)

    def _event(self, event: UsageEvent, thing: dict[str, Any]) -> None:
        assert event.cost_nanos == thing["cost"]
        assert (event.late, event.overrun) == (thing["late"], thing["overrun"]), (event, thing)
        assert (event.unpriced, event.clamped) == (thing["unpriced"], thing["clamped"])
        assert event.occurred_at == event.posted_at == thing["at"]
        assert event.usage.total_tokens == thing["tokens"]
        assert self._path(event.path) == set(thing["names"])

    def _refusals(self, refusals: Sequence[dict[str, Any]]) -> set[tuple[Name, str]]:
        return {(self.name(self.memory.accounts[int(value["account_id"])]), value["unit"]) for value in refusals}

    # What is in the books

    def books(self) -> None:
        """Compare everything that is kept, and check the invariants on the core's own rows."""
        self._balances()
        self._states()
        self._sums_of_events()
        self._roll_ups()

    def name(self, account: Account) -> Name:
        """Return the model's name for an account of the core."""
        subject = json.loads(account.subject)
        if account.budget_id == 0:
            return "run", int(subject["run"]), subject.get("agent_type")
        budget = next(budget for budget in self.model.budgets if budget["id"] == account.budget_id)
        period = self.model.period(budget["command"].window, account.window_start)
        return "budget", account.budget_id, frozenset(subject.items()), period

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
                # A hard account never holds more than it has room for but by what was booked beyond holds (D6).
                if limit is not None and expected.hard:
                    assert settled + held <= limit + expected.excess[unit]
        assert set(self.model.accounts) <= names

    def _states(self) -> None:
        found = {number: r.state.value for number, r in self.memory.rows.reservations.items()}
        assert found == {number: hold["state"] for number, hold in self.model.holds.items()}
        runs = {number: run.state.value for number, run in self.memory.rows.runs.items()}
        assert runs == {number: run["state"] for number, run in self.model.runs.items()}

    def _sums_of_events(self) -> None:
        """Settled balances are the sums over the events (D11), and every actual is booked in full (D2)."""
        tokens: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for event in self.memory.rows.events.values():
            for number in event.path:
                uncached = self.memory.accounts[number].counts == "uncached"
                counted = event.usage.input_tokens + event.usage.output_tokens
                counted -= event.usage.cache_read_tokens if uncached else 0
                for position, amount in enumerate((counted, event.cost_nanos, 1)):
                    tokens[number][position] += amount
        for account in self.memory.accounts.values():
            assert [account.figures(unit)[1] for unit in Unit] == tokens[account.account_id]
        for run_id in self.model.runs:
            events = [event for event in self.model.events if event["run"] == run_id]
            balance = self.model.accounts["run", run_id, None]
            assert balance.settled == {
                "tokens": sum(event["tokens"] for event in events),
                "cost": sum(event["cost"] for event in events),
                "calls": len(events),
            }
        booked = list(self.memory.rows.events.values())
        assert sum(event.cost_nanos for event in booked) == sum(event["cost"] for event in self.model.events)
        assert len(booked) == len(self.model.events)

    def _roll_ups(self) -> None:
        zone = self.model.zone
        expected: dict[Any, list[int]] = {}
        expected_tags: dict[Any, list[int]] = {}
        for event in self.model.events:
            local, facts, usage = event["at"].astimezone(zone), event["facts"], dict(event["usage"])
            usage["cache_write"] = usage["cache_write_5m"] + usage["cache_write_1h"]
            amounts = [1, *(usage[kind] for kind in AMOUNTS), event["cost"]]
            names = (facts[name] for name in ("cost_center", "user", "agent_type", "model", "request_type"))
            _add(expected, (f"{local:%Y-%m-%d %H %z}", f"{local:%Y-%m-%d}", *names), amounts)
            for tag, value in event["tags"]:
                _add(expected_tags, (f"{local:%Y-%m-%d}", tag, value), amounts)
        found: dict[Any, list[int]] = {}
        for (hour, day, *names_found), amounts in self.memory.hourly_daily.items():
            local_hour, local_day = hour.astimezone(zone), day.astimezone(zone)
            assert (local_hour.minute, local_hour.second, local_hour.microsecond) == (0, 0, 0)
            _add(found, (f"{local_hour:%Y-%m-%d %H %z}", f"{local_day:%Y-%m-%d}", *names_found), amounts)
        assert found == expected
        assert len(found) == len(self.memory.hourly_daily), "an hour has one start"
        tags = {
            (f"{day.astimezone(zone):%Y-%m-%d}", *rest): sums for (day, *rest), sums in self.memory.daily_tags.items()
        }
        assert tags == expected_tags

    # Another ledger's answers

    @staticmethod
    def same_outcomes(outcomes: Sequence[Outcome], decided: Sequence[Outcome]) -> None:
        """Compare the answers of two ledgers to the same batch."""
        for outcome, other in zip(outcomes, decided, strict=True):
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
    """Return a value that compares by content: JSON texts parsed, advice sorted, balances left out."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name not in UNCOMPARED}
        return type(value).__name__, named
    if isinstance(value, str) and value[:1] in ("{", "["):
        return plain(json.loads(value))
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list | tuple):
        return sorted((plain(inner) for inner in value), key=repr)
    return value


def _id_of(outcome: Outcome) -> int:
    match outcome:
        case Granted(reservation) | Released(reservation):
            return reservation.reservation_id
        case Denied(denial):
            return denial.denial_id
        case Settled(event) | Recorded(event):
            return event.event_id
        case Quarantined(quarantine_id):
            return quarantine_id
        case RunAnswer(run):
            return run.run_id
        case BudgetAnswer(budget):
            return budget.budget_id
        case TriggerAnswer(trigger):
            return trigger.trigger_id
    raise AssertionError(f"{outcome} has no id")


def _add(sums: dict[Any, list[int]], key: Any, amounts: Sequence[int]) -> None:
    sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(amounts)), amounts, strict=True)]
