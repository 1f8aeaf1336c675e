"""Repeated keys: the same body is answered from the books, another body conflicts and the field is named."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from tests.core.given import (
    BUDGET,
    NOW,
    TRIGGER,
    Ledger,
    balance,
    budget,
    open_run,
    record,
    refused,
    release,
    reserve,
    sealed,
    settle,
)
from token_ledger.core.administration import ArchiveBudget
from token_ledger.core.budget import Limits
from token_ledger.core.commands import EndRun, Quarantine
from token_ledger.core.outcomes import (
    BudgetAnswer,
    Code,
    Denied,
    Granted,
    Quarantined,
    Recorded,
    Released,
    RunAnswer,
    Settled,
    TriggerAnswer,
)  # fmt: skip
from token_ledger.core.price import CacheWrite
from token_ledger.core.run import RunState
from token_ledger.core.usage import Usage
from token_ledger.core.writes import Writes


def every_verb() -> list[tuple[str, Ledger, Any, type]]:
    ledger = Ledger(
        budget(tokens=10**6, budget_id=90), budget(tokens=0, name="none", selector=(("user", "broke"),), budget_id=91)
    )
    run, hold, other = ledger.opened(key="0"), ledger.granted(key="1"), ledger.granted(key="2")
    commands: list[tuple[str, Any, type]] = [
        ("reserve", reserve(), Granted), ("denied", reserve(key="d", user="broke"), Denied),
        ("settle", settle(hold.reservation_id), Settled), ("release", release(other.reservation_id), Released),
        ("record", record(), Recorded), ("kept", record(key="k", run_id=7), Quarantined),
        ("kept settle", settle(other.reservation_id, key="s2"), Quarantined),
        ("unreadable", Quarantine("event:x", "q", b"1", "invalid_request", "no usage", "{}"), Quarantined),
        ("run", open_run(), RunAnswer), ("end", sealed(EndRun("e", b"", run.run_id, RunState.CLOSED)), RunAnswer),
        ("budget", replace(BUDGET, name="new"), BudgetAnswer),
        ("archive", sealed(ArchiveBudget("a", b"", 90)), BudgetAnswer),
        ("trigger", TRIGGER, TriggerAnswer),
    ]  # fmt: skip
    if not isinstance(ledger.one(release(other.reservation_id, key="early")), Released):
        raise AssertionError
    commands[3] = ("release", release(ledger.granted(key="3").reservation_id), Released)
    return [(name, ledger, command, answer) for name, command, answer in commands]


VERBS = [name for name, *_ in every_verb()]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["in one batch", "in the next batch"])
def test_the_same_key_and_body_is_answered_from_the_books(verb: str, how: str) -> None:
    ledger, command, answer = next(row[1:] for row in every_verb() if row[0] == verb)
    if how == "in one batch":
        first, again = ledger.decide(command, command)
        balances = balance(ledger)
    else:
        first = ledger.one(command)
        balances = balance(ledger)
        again = ledger.at(NOW + timedelta(seconds=1)).one(command)
        writes = replace(ledger.books.writes, changed_accounts={})
        assert writes == Writes()
    assert type(first) is type(again) is answer
    shown = {f.name: getattr(first, f.name) for f in fields(first) if f.name != "accounts"}
    assert {name: getattr(again, name) for name in shown} == shown | {"replayed": True}
    assert shown["replayed"] is False
    assert balance(ledger) == balances


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_key_and_another_body_conflicts(verb: str) -> None:
    ledger, command, _ = next(row[1:] for row in every_verb() if row[0] == verb)
    ledger.one(command)
    assert refused(ledger, replace(command, fingerprint=b"another")).code is Code.IDEMPOTENCY_CONFLICT


def test_the_same_key_of_another_verb_or_source_is_another_key() -> None:
    ledger = Ledger()
    number = ledger.granted(key="k").reservation_id
    outcomes = ledger.decide(
        settle(number, key="k"), record(key="k"), record(key="k", source="event:other"), open_run(key="k")
    )
    assert [type(outcome) for outcome in outcomes] == [Settled, Recorded, Recorded, RunAnswer]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent_type": "writer"}, "agent_type"), ({"provider": "other"}, "provider"), ({"model": "small"}, "model"),
        ({"input_tokens": 999}, "input_tokens"), ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"user": "bob"}, "user"), ({"cache_write": CacheWrite.ONE_HOUR}, "idempotency_key"),
        ({"cost_center": "sales"}, "cost_center"), ({"request_type": "report"}, "request_type"),
        ({"cached_input_tokens": 1}, "cached_input_tokens"), ({"ttl_seconds": 1}, "ttl_seconds"),
        ({"tool": "x"}, "tool"),
        ({"tags": (("a", "b"),)}, "tags"), ({"requires": ("json",)}, "idempotency_key"),
    ],
)  # fmt: skip
def test_a_conflict_of_reserves_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = Ledger()
    ledger.granted()
    assert refused(ledger, reserve(**change)).field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"usage": Usage(901, 100)}, "usage.input_tokens"), ({"usage": Usage(900, 99)}, "usage.output_tokens"),
        ({"usage": Usage(900, 100, 1)}, "usage.cache_read_tokens"),
        ({"usage": Usage(900, 100, reasoning_tokens=1)}, "usage.reasoning_tokens"), ({"model": "small"}, "model"),
        ({"failed": True}, "outcome"), ({"estimated": True}, "estimated"), ({"response_id": "x"}, "response_id"),
        ({"original_input_tokens": 5}, "original_input_tokens"),
    ],
)  # fmt: skip
def test_a_conflict_of_settles_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = Ledger()
    number = ledger.granted().reservation_id
    ledger.one(settle(number))
    assert refused(ledger, settle(number, **change)).field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user": "bob"}, "user"), ({"external_id": "x"}, "external_id"), ({"limits": Limits(5)}, "limits.tokens"),
        ({"limits": Limits(None, 5)}, "limits.cost"), ({"strict": True}, "strict"),
    ],
)  # fmt: skip
def test_a_conflict_of_runs_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = Ledger()
    ledger.opened()
    assert refused(ledger, open_run(**change)).field == field


def test_a_trigger_that_was_replaced_is_not_set_again_by_its_old_key() -> None:
    ledger = Ledger()
    ledger.decide(TRIGGER, sealed(replace(TRIGGER, key="t2", at_percent=90)))
    assert refused(ledger, TRIGGER).code is Code.IDEMPOTENCY_CONFLICT


def test_a_refusal_does_not_take_the_key() -> None:
    ledger = Ledger()
    refused(ledger, reserve(model="unknown"))
    assert isinstance(ledger.one(reserve()), Granted)


def test_a_repeated_reserve_shows_that_its_hold_expired() -> None:
    ledger = Ledger()
    ledger.granted()
    (again,) = ledger.at(NOW + timedelta(days=1)).decide(reserve())
    assert isinstance(again, Granted)
    assert (again.replayed, again.reservation.state) == (True, "expired")


def test_an_answer_does_not_change_with_what_is_decided_after_it() -> None:
    ledger = Ledger()
    number, run_id = ledger.granted().reservation_id, ledger.opened().run_id
    closed, hold, run = ledger.decide(sealed(EndRun("e", b"", run_id, RunState.CLOSED)), reserve(), open_run())
    ledger.decide(settle(number), sealed(EndRun("c", b"", run_id, RunState.CANCELLED)))
    assert isinstance(hold, Granted)
    assert isinstance(closed, RunAnswer)
    assert isinstance(run, RunAnswer)
    assert (hold.reservation.state, closed.run.state, run.run.state) == ("held", "closed", "closed")
