"""What a lease admits, and what it has left."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from token_ledger_sdk import Amounts, Directive, Take, Usage
from token_ledger_sdk.leases.admission import LeaseBook
from token_ledger_sdk.leases.sizes import Size, hold_cost
from token_ledger_sdk.leases.terms import Terms
from token_ledger_sdk.spool.deliveries import bare_operation
from token_ledger_sdk.wire.calls import Use
from token_ledger_sdk.wire.leases import Lease, LeasePrice, Tier

BASE = Tier(0, *map(Decimal, ("1", "4", "0.1", "1.25", "2", "4")))
HIGHER = Tier(200_000, *map(Decimal, ("2", "8", "0.2", "2.5", "4", "8")))
SIZE = Size(600, 400)
LEASE = Lease(
    lease_id="61",
    state="held",
    created_at=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    expires_at=datetime(2026, 11, 20, 12, 5, tzinfo=UTC),
    run_id=None,
    held=Amounts(3_000, Decimal("0.0066"), 3),
    provider="openai",
    model="gpt-5-mini",
    warnings=(),
    replayed=False,
    calls=3,
    price=LeasePrice((HIGHER, BASE)),
)


def book_of(lease: Lease = LEASE) -> LeaseBook:
    return LeaseBook(lease, SIZE, None, sent=1_000.0, heard=1_000.5)


def test_no_more_calls_are_admitted_than_are_held() -> None:
    book = book_of()
    assert [book.admit(SIZE, 1_060.0) is not None for _ in range(4)] == [True, True, True, False]
    assert book.left == Take(0, 0, Decimal(0), 0)


def test_a_booked_call_leaves_what_it_did_not_use() -> None:
    book = book_of()
    admitted = book.admit(SIZE, 1_060.0)
    assert admitted == Take(1_000, 1_000, Decimal("0.0022"))
    usage = Usage(100, 10, cache_read_tokens=40)
    record = book.settle(admitted, Use(usage, {"tool": "sql"}))
    assert book.left.calls == 2, "it counts in full until it is booked"
    assert not book.is_idle
    full, bare = json.loads(record.operation), json.loads(bare_operation(record.operation))
    assert (full.pop("tool"), full) == ("sql", bare)
    book.booked(admitted, usage, Decimal("0.0001"))
    assert book.left == Take(3_000 - 110, 3_000 - 70, Decimal("0.0065"), 2)
    assert book.is_idle


@pytest.mark.parametrize(("until", "admitted"), [(1_298.9, True), (1_299.0, False)])
def test_no_call_is_admitted_that_might_outlast_the_lease(until: float, admitted: bool) -> None:
    assert (book_of().admit(SIZE, until) is not None) is admitted


@pytest.mark.parametrize(("until", "at_any_age"), [(1_100.0, True), (1_298.9, True), (1_299.0, False)])
def test_an_outdated_lease_admits_calls_only_if_its_age_does_not_matter(until: float, at_any_age: bool) -> None:
    book = LeaseBook(LEASE, SIZE, None, sent=1_000.0, heard=1_000.5, until=1_100.0)
    assert book.admit(SIZE, until) is None
    assert (book.admit(SIZE, until, at_any_age=True) is not None) is at_any_age


@pytest.mark.parametrize(("of_lease", "may_be"), [(("1", "2"), True), (("1",), False), ((), False), (None, True)])
def test_a_lease_of_unknown_accounts_may_be_on_any(of_lease: tuple[str, ...] | None, may_be: bool) -> None:
    assert replace(LEASE, account_ids=of_lease).may_be_on({"2", "3"}) is may_be


def test_a_lease_is_not_traded_once_its_calls_have_ended() -> None:
    book, other = book_of(), replace(LEASE, lease_id="62", held=Amounts(1_000, Decimal("0.0022"), 1), calls=1)
    ended = book.admit(SIZE, 1_060.0)
    assert ended is not None
    book.give_back(ended)
    assert book.trade(other, sent=1_001.0) == "62"
    book.admit(SIZE, 1_060.0)
    assert (book.trade(other, sent=1_001.0), book.lease) == ("61", other)


@pytest.mark.parametrize("changed", [{"state": "expired"}, {"directive": Directive(stop=True)}])
def test_a_lease_that_is_stopped_admits_nothing(changed: dict[str, Any]) -> None:
    assert book_of(replace(LEASE, **changed)).admit(SIZE, 1_000.0) is None


def test_without_rates_only_calls_within_the_requested_size_are_admitted() -> None:
    book = book_of(replace(LEASE, price=None))
    assert book.admit(Size(601, 1), 1_060.0) is None
    assert book.admit(Size(600, 1), 1_060.0) == Take(601, 601, Decimal("0.0022"))


@pytest.mark.parametrize(
    ("size", "write", "cost"),
    [
        (Size(200_000, 0), None, "0.2"),
        (Size(200_001, 0), None, "0.400002"),
        (Size(1_000, 100, 400), None, "0.00104"),
        (Size(1_000, 0), "5m", "0.00125"),
        (Size(1_000, 0), "1h", "0.002"),
    ],
)
def test_a_call_is_counted_by_the_dearest_rate_that_may_apply(size: Size, write: str | None, cost: str) -> None:
    assert hold_cost(LeasePrice((HIGHER, BASE)), size, write) == Decimal(cost)


@pytest.mark.parametrize(
    ("size", "write", "cost"),
    [
        (Size(200_000, 10), None, "0.20004"),
        (Size(200_001, 10), None, "0.200042"),
        (Size(300_000, 0, 250_000), None, "0.13"),  # 200,000 at 0.1, 50,000 at 0.2, 50,000 at 2 dollars a million
        (Size(300_000, 0), "1h", "0.8"),
    ],
)
def test_a_marginal_tier_is_for_the_input_beyond_it(size: Size, write: str | None, cost: str) -> None:
    assert hold_cost(LeasePrice((HIGHER, BASE), "marginal"), size, write) == Decimal(cost)


def test_a_size_is_changed_where_a_caller_says_so() -> None:
    size = Size(1_000, 400, 500)
    assert size.changed() == size
    assert size.changed(input_tokens=300) == Size(300, 400, 300)
    assert size.changed(max_output_tokens=10, cached_input_tokens=0) == Size(1_000, 10, 0)


@pytest.mark.parametrize(("seconds", "flush", "said"), [(299.0, 1.0, "longest_call_seconds"), (60.0, 0.0, "flush_")])
def test_terms_that_could_never_admit_a_call_are_refused(seconds: float, flush: float, said: str, call: Any) -> None:
    with pytest.raises(ValueError, match=said):
        Terms(call, calls=10, longest_call_seconds=seconds, flush_seconds=flush)


FLEX = replace(SIZE, max_usage={"web_searches": 5}, service_tier="flex")


@pytest.mark.parametrize(
    ("given", "is_covered"),
    [
        ({}, True), ({"max_usage": {"web_searches": 5}}, True), ({"max_usage": {"web_searches": 4}}, True),
        ({"max_usage": {}}, True), ({"max_usage": {"web_searches": 6}}, False),
        ({"max_usage": {"web_searches": 1, "images": 1}}, False), ({"service_tier": "flex"}, True),
        ({"service_tier": "priority"}, False), ({"max_usage": {"images": 0}}, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("price", [LEASE.price, None])
def test_a_lease_covers_calls_that_announce_no_more_than_it_did(
    given: dict[str, Any], is_covered: bool, price: LeasePrice | None
) -> None:
    book = LeaseBook(replace(LEASE, price=price), FLEX, None, sent=1_000.0, heard=1_000.5)
    size = FLEX.changed(**given)
    admitted = book.admit(size, 1_060.0)
    assert (book.covers(size), admitted is not None) == (is_covered, is_covered)
    assert size.is_within(FLEX) == is_covered
    assert admitted is None or admitted.cost == Decimal("0.0022")


def test_a_lease_of_calls_that_announce_nothing_covers_none_that_do() -> None:
    assert not book_of().covers(FLEX)
    assert not book_of().covers(replace(SIZE, max_usage={"web_searches": 1}))
    assert book_of().covers(replace(SIZE, max_usage={"web_searches": 0}))


@pytest.mark.parametrize(("wrong", "error"), [({"web_searches": -1}, ValueError), ({"searches": 1}, TypeError)])
def test_what_is_announced_is_what_a_call_can_use(wrong: dict[str, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        SIZE.changed(max_usage=wrong)


def test_a_call_that_takes_all_of_it_uses_what_was_announced() -> None:
    assert FLEX.usage == Usage(600, 400, web_searches=5)
    call: Any = {"agent_type": "a", "provider": "p", "model": "m", "input_tokens": 600, "max_output_tokens": 400,
                 "max_usage": {"web_searches": 5}, "service_tier": "flex"}  # fmt: skip
    terms = Terms(call, calls=2, longest_call_seconds=60, flush_seconds=1)
    assert terms.size == FLEX
    other = FLEX.changed(max_usage={"images": 2}, service_tier="batch")
    single = terms.single(other)
    assert (single["max_usage"], single["service_tier"]) == ({"images": 2}, "batch")
    assert terms.call == call


def test_why_calls_cost_nothing_is_told_when_the_lease_is_released() -> None:
    book = book_of()
    assert book.release_reason == "not needed"
    refused = ("the provider answered 429", None, "not sent", "the provider answered 429")
    for reason in refused:
        admitted = book.admit(SIZE, 1_060.0)
        assert admitted is not None
        book.give_back(admitted, reason)
    assert book.release_reason == "not needed; the provider answered 429 (2); not sent (1)"
    admitted = book.admit(SIZE, 1_060.0)
    assert admitted is not None
    book.give_back(admitted, "x" * 500)
    assert len(book.release_reason) == 200


def test_what_is_retired_admits_nothing() -> None:
    book = book_of()
    book.retired = True
    assert (book.admit(SIZE, 1_060.0), book.is_idle) == (None, True)


SMALL = replace(LEASE, lease_id="62", held=Amounts(1_000, Decimal("0.0022"), 1), calls=1)


def test_a_call_in_progress_becomes_one_of_a_lease_as_large_as_it_is() -> None:
    book = book_of()
    done, admitted = book.admit(SIZE, 1_060.0), book.admit(SIZE, 1_060.0)
    assert done is not None
    assert admitted is not None
    used = Usage(100, 10)
    book.settle(done, Use(used, {}))
    assert book.trade(SMALL, sent=1_010.0) == "62", "what waits is booked on the lease that it was admitted from"
    book.booked(done, used, Decimal("0.0001"))
    assert book.trade(SMALL, sent=1_010.0) == "61"
    assert (book.lease, book.left) == (SMALL, Take(0, 0, Decimal(0), 0))
    assert json.loads(book.settle(admitted, Use(used, {})).operation)["reservation_id"] == "62"
    book.booked(admitted, used, Decimal("0.0001"))
    assert (book.left.tokens, book.left.calls, book.is_idle) == (890, 0, True)


@pytest.mark.parametrize(
    "changed",
    [{"model": "gpt-5"}, {"price": None}, {"state": "released"}, {"held": Amounts(999, Decimal("0.0022"), 1)}],
)
def test_a_lease_that_does_not_bear_the_calls_in_progress_is_given_back(changed: dict[str, Any]) -> None:
    book = book_of()
    assert book.admit(SIZE, 1_060.0) is not None
    assert book.trade(replace(SMALL, **changed), sent=1_010.0) == "62"
    assert book.lease == LEASE


def test_what_a_lease_says_is_not_believed_for_longer_than_was_said() -> None:
    book = LeaseBook(LEASE, SIZE, None, sent=1_000.0, heard=1_000.5, until=1_070.0)
    assert (book.admit(SIZE, 1_070.0), book.is_outdated(1_070.0)) == (None, True)
    assert (book.admit(SIZE, 1_069.9) is not None, book.is_outdated(1_069.9)) == (True, False)
