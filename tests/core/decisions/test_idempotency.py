"""Repeated keys: the same request gets the stored answer, another one a conflict that names the field."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch import outcomes
from token_ledger.core.batch.administration import ArchiveBudget, ForceRelease, StopTenant
from token_ledger.core.batch.commands import EndRun, Quarantine, settle_key
from token_ledger.core.decisions.quarantine import content
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.hold_cost import CacheWrite
from token_ledger.core.model.principal import Role
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage


def every_verb() -> list[tuple[str, given.Ledger, Any, type]]:
    ledger = given.Ledger(
        given.budget(tokens=10**6, budget_id=90),
        given.budget(tokens=0, name="none", selector=(("user", "broke"),), budget_id=91),
    )
    run, hold, other = ledger.opened(key="0"), ledger.granted(key="1"), ledger.granted(key="2")
    commands: list[tuple[str, Any, type]] = [
        ("reserve", given.reserve(), outcomes.Granted),
        ("denied", given.reserve(key="d", user="broke"), outcomes.Denied),
        ("settle", given.settle(hold.reservation_id), outcomes.Settled),
        ("release", given.release(other.reservation_id), outcomes.Released),
        ("record", given.record(), outcomes.Recorded),
        ("kept", given.record(key="k", run_id=7), outcomes.Quarantined),
        ("kept settle", given.settle(other.reservation_id, key="s2"), outcomes.Quarantined),
        ("unreadable", Quarantine("q", b"1", "x", "invalid_request", "no usage", {}), outcomes.Quarantined),
        ("run", given.open_run(), outcomes.RunAnswer),
        ("end", given.sealed(EndRun("e", b"", run.run_id, RunState.CLOSED)), outcomes.RunAnswer),
        ("budget", replace(given.BUDGET, name="new"), outcomes.BudgetAnswer),
        ("archive", given.sealed(ArchiveBudget("a", b"", 90)), outcomes.BudgetAnswer),
        ("trigger", given.TRIGGER, outcomes.TriggerAnswer),
    ]
    if not isinstance(ledger.one(given.release(other.reservation_id, key="early")), outcomes.Released):
        raise AssertionError
    commands[3] = ("release", given.release(ledger.granted(key="3").reservation_id), outcomes.Released)
    return [(name, ledger, command, answer) for name, command, answer in commands]


VERBS = [name for name, *_ in every_verb()]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["in one batch", "in the next batch"])
def test_the_same_key_and_body_is_answered_from_the_books(verb: str, how: str) -> None:
    ledger, command, answer = next(row[1:] for row in every_verb() if row[0] == verb)
    if how == "in one batch":
        first, again = ledger.decide(command, command)
        balances = given.balance(ledger)
    else:
        first = ledger.one(command)
        balances = given.balance(ledger)
        again = ledger.at(given.NOW + timedelta(seconds=1)).one(command)
        writes = ledger.books.writes
        writes.changed_accounts.clear()
        assert not any(vars(writes).values())
    assert type(first) is type(again) is answer
    shown = {f.name: getattr(first, f.name) for f in fields(first) if f.name != "accounts"}
    assert {name: getattr(again, name) for name in shown} == shown | {"replayed": True}
    assert shown["replayed"] is False
    assert given.balance(ledger) == balances


STOPS = ("release", "end")


REPORTS = ("settle", "record", "kept", "kept settle", "unreadable")


@pytest.mark.parametrize("verb", REPORTS)
@pytest.mark.parametrize("how", ["in one batch", "in the next batch"])
def test_a_report_that_contradicts_an_earlier_one_is_kept_once_for_every_body(verb: str, how: str) -> None:
    ledger, command, _ = next(row[1:] for row in every_verb() if row[0] == verb)
    ledger.one(command)
    before = given.balance(ledger), len(ledger.books.writes.kept)
    others = [replace(command, fingerprint=print_) for print_ in (b"another", b"a third", b"another", b"a third")]
    decided: list[Any] = ledger.decide(*others) if how == "in one batch" else [ledger.one(each) for each in others]
    assert {each.code for each in decided} == {outcomes.Code.IDEMPOTENCY_CONFLICT}
    assert [each.replayed for each in decided] == [False, False, True, True]
    assert [each.quarantine_id for each in decided[2:]] == [each.quarantine_id for each in decided[:2]]
    assert len({each.quarantine_id for each in decided}) == 2
    kept = [each for each in ledger.books.loaded.kept.values() if each.quarantine_id >= decided[0].quarantine_id]
    assert [each.body for each in kept] == [content(command)] * 2
    assert given.balance(ledger) == before[0], "nothing of it is booked"
    again: Any = ledger.one(command)
    assert again.replayed, "the first report is still what its key stands for"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in (*STOPS, *REPORTS)])
def test_the_same_key_and_another_body_conflicts(verb: str) -> None:
    ledger, command, _ = next(row[1:] for row in every_verb() if row[0] == verb)
    ledger.one(command)
    assert given.refused(ledger, replace(command, fingerprint=b"another")).code is outcomes.Code.IDEMPOTENCY_CONFLICT


def test_no_key_prevents_an_end() -> None:
    ledger = given.Ledger()
    first, second = ledger.granted(key="1").reservation_id, ledger.granted(key="2").reservation_id
    mine, victim = ledger.opened(key="3").run_id, ledger.opened(key="4").run_id
    forced = [ForceRelease("f", b"", ledger.granted(key=key).reservation_id, "dead", "root") for key in "56"]
    for one, other in (
        (given.release(first), given.release(second)),
        (EndRun("e", b"", mine, RunState.CANCELLED), EndRun("e", b"", victim, RunState.CANCELLED)),
        forced,
        (StopTenant("s", b"", None, "root"), StopTenant("s", b"", "a leak", "root")),
    ):
        ledger.one(given.sealed(one))
        kept = dict(ledger.books.loaded.keys)
        ended = ledger.one(given.sealed(other))
        assert not isinstance(ended, outcomes.Refused), ended
        assert ended.replayed is False  # type: ignore[union-attr]
        assert dict(ledger.books.loaded.keys).items() >= kept.items()
    holds, runs = ledger.books.loaded.reservations, ledger.books.loaded.runs
    assert (holds[second].state, runs[victim].state, ledger.books.config.stopped) == ("released", "cancelled", "a leak")
    assert holds[forced[1].reservation_id].state == "expired"


def test_what_has_ended_as_it_should_is_answered_under_any_key() -> None:
    ledger = given.Ledger()
    number, run_id = ledger.granted(key="1").reservation_id, ledger.opened().run_id
    ledger.decide(given.release(number), given.sealed(EndRun("e", b"", run_id, RunState.CANCELLED)))
    lost = ledger.granted(key="2").reservation_id
    ledger.one(given.sealed(ForceRelease("f", b"", lost, "dead", "root")))
    before = repr(ledger.books.writes.keys), ledger.books.writes.audit[:]
    released, forced = ledger.decide(
        given.release(number, key="y"), given.sealed(ForceRelease("g", b"", lost, "lost", "root"))
    )
    assert (repr(ledger.books.writes.keys), ledger.books.writes.audit) == before
    cancelled = ledger.one(given.sealed(EndRun("g", b"", run_id, RunState.CANCELLED)))
    assert isinstance(released, outcomes.Released)
    assert isinstance(forced, outcomes.Released)
    assert isinstance(cancelled, outcomes.RunAnswer)
    assert (released.reservation.state, forced.reservation.state, cancelled.run.state) == (
        "released", "expired", "cancelled",
    )  # fmt: skip
    assert released.replayed
    assert forced.replayed


KINDS = {
    "reserve": given.reserve(key="k"),
    "lease": given.lease(key="k"),
    "run": given.open_run(key="k"),
}


@pytest.mark.parametrize("verb", KINDS)
def test_a_key_of_one_kind_of_principal_is_no_key_of_another(verb: str) -> None:
    ledger, command = given.Ledger(), KINDS[verb]
    taken = ledger.one(replace(command, user="eve", fingerprint=b"another").sent_by(Role.AGENT))
    got = ledger.one(command.sent_by(Role.ADMIN))
    assert type(got) is type(taken)
    assert not isinstance(got, outcomes.Refused)
    again = ledger.at(given.NOW).one(command.sent_by(Role.ADMIN))
    assert isinstance(again, outcomes.Granted | outcomes.RunAnswer)
    assert again.replayed


def test_a_request_from_before_keys_had_kinds_is_still_answered_as_then() -> None:
    ledger = given.Ledger()
    first = ledger.one(given.reserve())  # by an administrator; its key stands under the verb alone
    assert isinstance(first, outcomes.Granted)
    again = ledger.at(given.NOW).one(given.reserve().sent_by(Role.ADMIN))
    assert again == replace(first, replayed=True)


@pytest.mark.parametrize("part", [False, True])
def test_the_key_of_a_hold_can_be_used_for_nothing_but_its_settle(part: bool) -> None:
    ledger = given.Ledger()
    mine, victim = ledger.granted(key="1").reservation_id, ledger.granted(key="2").reservation_id
    own = settle_key(victim)
    taking = given.settle(victim if part else mine, key=own, part=part).sent_by(Role.AGENT)
    assert isinstance(ledger.one(taking), outcomes.Settled)
    repeated = ledger.one(taking)
    assert isinstance(repeated, outcomes.Settled)
    assert repeated.replayed
    for kind in (Role.AGENT, Role.ADMIN):
        settled = ledger.one(given.settle(victim, key=own).sent_by(kind))
        assert isinstance(settled, outcomes.Settled)
        assert settled.event.reservation_id == victim
    assert isinstance(settled, outcomes.Settled)
    assert settled.replayed


def test_the_same_key_of_another_verb_or_source_is_another_key() -> None:
    ledger = given.Ledger()
    number = ledger.granted(key="k").reservation_id
    answers = ledger.decide(
        given.settle(number, key="k"),
        given.record(key="k"),
        given.record(key="k", event_source="other"),
        given.open_run(key="k"),
    )
    assert [type(outcome) for outcome in answers] == [
        outcomes.Settled,
        outcomes.Recorded,
        outcomes.Recorded,
        outcomes.RunAnswer,
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent_type": "writer"}, "agent_type"), ({"provider": "other"}, "provider"), ({"model": "small"}, "model"),
        ({"input_tokens": 999}, "input_tokens"), ({"max_output_tokens": 1}, "max_output_tokens"),
        ({"user": "bob"}, "user"), ({"cache_write": CacheWrite.ONE_HOUR}, "key"),
        ({"cost_center": "sales"}, "cost_center"), ({"request_type": "report"}, "request_type"),
        ({"cached_input_tokens": 1}, "cached_input_tokens"), ({"ttl_seconds": 1}, "ttl_seconds"),
        ({"tool": "x"}, "tool"),
        ({"tags": (("a", "b"),)}, "tags"), ({"requires": ("json",)}, "key"),
    ],
)  # fmt: skip
def test_a_conflict_of_reserves_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = given.Ledger()
    ledger.granted()
    assert given.refused(ledger, given.reserve(**change)).field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"usage": Usage(901, 100)}, "usage.input_tokens"), ({"usage": Usage(900, 99)}, "usage.output_tokens"),
        ({"usage": Usage(900, 100, 1)}, "usage.cache_read_tokens"),
        ({"usage": Usage(900, 100, reasoning_tokens=1)}, "usage.reasoning_tokens"), ({"model": "small"}, "model"),
        ({"failed": True}, "failed"), ({"estimated": True}, "estimated"), ({"response_id": "x"}, "response_id"),
        ({"original_input_tokens": 5}, "original_input_tokens"),
        ({"occurred_at": given.NOW - timedelta(days=1)}, "occurred_at"),
    ],
)  # fmt: skip
def test_a_conflict_of_settles_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = given.Ledger()
    number = ledger.granted().reservation_id
    ledger.one(given.settle(number))
    kept = ledger.one(given.settle(number, **change))
    assert isinstance(kept, outcomes.Quarantined)
    assert (kept.code, kept.field) == (outcomes.Code.IDEMPOTENCY_CONFLICT, field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user": "bob"}, "user"), ({"external_id": "x"}, "external_id"), ({"limits": Limits(5)}, "limits.tokens"),
        ({"limits": Limits(None, 5)}, "limits.nanos"), ({"strict": True}, "strict"),
    ],
)  # fmt: skip
def test_a_conflict_of_runs_names_the_field(change: dict[str, Any], field: str) -> None:
    ledger = given.Ledger()
    ledger.opened()
    assert given.refused(ledger, given.open_run(**change)).field == field


def test_a_trigger_that_was_replaced_is_not_set_again_by_its_old_key() -> None:
    ledger = given.Ledger()
    ledger.decide(given.TRIGGER, given.sealed(replace(given.TRIGGER, key="t2", at_percent=90)))
    assert given.refused(ledger, given.TRIGGER).code is outcomes.Code.IDEMPOTENCY_CONFLICT


def test_a_refusal_does_not_take_the_key() -> None:
    ledger = given.Ledger()
    given.refused(ledger, given.reserve(model="unknown"))
    assert isinstance(ledger.one(given.reserve()), outcomes.Granted)


def test_a_repeated_reserve_shows_that_its_hold_expired() -> None:
    ledger = given.Ledger()
    ledger.granted()
    (again,) = ledger.at(given.NOW + timedelta(days=1)).decide(given.reserve())
    assert isinstance(again, outcomes.Granted)
    assert (again.replayed, again.reservation.state) == (True, "expired")


def test_an_answer_does_not_change_with_what_is_decided_after_it() -> None:
    ledger = given.Ledger()
    number, run_id = ledger.granted().reservation_id, ledger.opened().run_id
    closed, hold, run = ledger.decide(
        given.sealed(EndRun("e", b"", run_id, RunState.CLOSED)), given.reserve(), given.open_run()
    )
    ledger.decide(given.settle(number), given.sealed(EndRun("c", b"", run_id, RunState.CANCELLED)))
    assert isinstance(hold, outcomes.Granted)
    assert isinstance(closed, outcomes.RunAnswer)
    assert isinstance(run, outcomes.RunAnswer)
    assert (hold.reservation.state, closed.run.state, run.run.state) == ("held", "closed", "closed")


def test_a_conflict_does_not_name_a_time_that_was_only_moved_to_what_can_be_stored() -> None:
    ledger = given.Ledger()
    settle = partial(given.settle, ledger.granted().reservation_id, occurred_at=datetime(1492, 8, 3, tzinfo=UTC))
    ledger.one(settle())
    kept = ledger.one(settle(estimated=True))
    assert isinstance(kept, outcomes.Quarantined)
    assert kept.field == "estimated"
