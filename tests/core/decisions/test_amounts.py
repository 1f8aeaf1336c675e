"""Amounts near the largest that the database holds: actual spend is booked or kept, limits stay storable."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.core.given import NOW, Ledger, budget, record, refused, reserve, sealed, settle
from token_ledger.core.batch import administration, commands
from token_ledger.core.batch.outcomes import Code, Granted, Quarantined, Recorded, Refused, Settled
from token_ledger.core.model.account import EntryKind
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.charge import token_cost_nanos
from token_ledger.core.model.money import LARGEST_AMOUNT, rate_attos
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

DEAR = LARGEST_AMOUNT - 1_000
"""A limit that hardly anything can be added to."""


def test_the_largest_usage_at_more_than_the_largest_published_rate_can_be_stored() -> None:
    rate = rate_attos(Decimal("1500"))  # dollars per million tokens; the largest that is published is 600
    price = Price(1, Rates(*(rate,) * 6), tiers=((200_000, Rates(*(2 * rate,) * 6)),))
    assert token_cost_nanos(price, Usage(10**12, 10**12)) < LARGEST_AMOUNT


@pytest.mark.parametrize("tokens", [100_000_001, 10**12])
def test_a_call_that_used_more_than_any_limit_is_booked(tokens: int) -> None:
    ledger = Ledger(budget(tokens=1_500))
    hold = ledger.granted()
    assert isinstance(ledger.one(settle(hold.reservation_id, Usage(tokens, tokens))), Settled)
    assert isinstance(ledger.one(record(usage=Usage(tokens, tokens))), Recorded)
    [account] = ledger.books.writes.new_accounts
    assert account.settled_tokens == 4 * tokens


def _full(ledger: Ledger, **amounts: int) -> None:
    """Bring the only account to sums that no test could book in reasonable time."""
    for account in (*ledger.books.loaded.accounts, *ledger.books.writes.new_accounts):
        for name, amount in amounts.items():
            setattr(account, name, amount)


@pytest.mark.parametrize("sums", ["booked_tokens", "booked_nanos"])
def test_what_would_outgrow_the_sums_of_the_tenant_is_kept_and_the_rest_of_the_batch_is_decided(sums: str) -> None:
    ledger = Ledger(budget(tokens=10**15, enforcement=Enforcement.SOFT))
    hold = ledger.granted(max_output_tokens=0, input_tokens=1)
    setattr(ledger.books.loaded, sums, DEAR)
    event = record(usage=Usage(10_000, 0), body={"as": "sent"})
    kept, again, small = ledger.decide(
        settle(hold.reservation_id, Usage(10_000, 0)), event, record(key="e2", usage=Usage(0))
    )
    for outcome in (kept, again):
        assert isinstance(outcome, Quarantined)
        assert outcome.code == Code.NOT_BOOKABLE
        assert "9223372036.854775807" in outcome.detail
    assert isinstance(small, Recorded)
    assert ledger.books.writes.kept[0].body["usage"]["input_tokens"] == 10_000
    assert ledger.books.writes.kept[1].body == {"as": "sent"}
    assert getattr(ledger.books.loaded, sums) == DEAR
    # With less the hold can still be settled, under another key.
    assert isinstance(ledger.one(settle(hold.reservation_id, Usage(0), key="less")), Settled)


def test_parts_that_would_outgrow_a_hold_are_kept() -> None:
    ledger = Ledger()
    hold = ledger.granted()
    ledger.books.loaded.reservations[hold.reservation_id].drawn_nanos = DEAR
    outcome = ledger.one(settle(hold.reservation_id, Usage(10_000, 0), part=True))
    assert isinstance(outcome, Quarantined)


@pytest.mark.parametrize("sums", [{"settled_tokens": DEAR}, {"settled_nanos": DEAR}, {"held_nanos": DEAR}], ids=str)
def test_a_hold_that_would_outgrow_an_account_is_refused(sums: dict[str, int]) -> None:
    ledger = Ledger(budget(tokens=5, enforcement=Enforcement.SOFT))
    ledger.granted(key="first", input_tokens=1)
    _full(ledger, **sums)
    refusal = refused(ledger, reserve())
    assert refusal.code is Code.INVALID_REQUEST
    assert "9223372036.854775807" in refusal.detail


def test_a_lease_is_given_for_as_many_calls_as_can_be_stored() -> None:
    ledger = Ledger()
    rate = rate_attos(Decimal("6000"))
    prices = ModelPrices("acme", "large", (Price(1, Rates(*(rate,) * 6)),))
    ledger.books.prices = PriceBook({("acme", "large"): prices}, lambda *_: None)
    asked = commands.Lease("lease", b"", "planner", "acme", "large", 10**8, 10**8, user="ada", calls=100_000)
    outcome = ledger.one(asked)
    assert isinstance(outcome, Granted)
    assert LARGEST_AMOUNT // 4 < outcome.reservation.held_nanos <= LARGEST_AMOUNT
    assert outcome.reservation.held_calls < 100_000


@pytest.mark.parametrize("asks", [False, True])
def test_a_grant_or_increase_above_the_largest_amount_is_refused(asks: bool) -> None:
    ledger = Ledger(budget(nanos=DEAR))
    ledger.granted(input_tokens=0, max_output_tokens=0)
    [account] = ledger.books.writes.new_accounts
    more: Any = administration.AskIncrease if asks else administration.GiveGrant
    fields = {"asked_by": "ada"} if asks else {"actor": "admin", "expires_at": None}
    command = more("g", b"", account_id=account.account_id, amounts=Limits(nanos=1_001), reason="more", **fields)
    refusal = refused(ledger, command)
    assert (refusal.code, refusal.field) == (Code.INVALID_REQUEST, "cost")
    assert not isinstance(ledger.one(sealed(replace(command, key="g2", amounts=Limits(nanos=1_000)))), Refused)


def test_a_rollover_is_carried_as_far_as_the_limit_can_be_stored() -> None:
    ledger = Ledger(budget(nanos=DEAR, rollover=Limits(nanos=DEAR), window=Window.HOUR))
    ledger.granted(key="before", input_tokens=0, max_output_tokens=0)
    ledger.at(NOW + timedelta(hours=1))
    ledger.granted(key="after")
    assert [(entry.kind, entry.by.nanos) for entry in ledger.books.writes.limit_entries] == [
        (EntryKind.OPENING, DEAR), (EntryKind.ROLLOVER, 1_000),
    ]  # fmt: skip
    [account] = ledger.books.writes.new_accounts
    assert account.limit_nanos == LARGEST_AMOUNT


def test_a_change_is_cut_where_a_grant_has_used_the_room_up() -> None:
    ledger = Ledger(budget(nanos=10))
    ledger.granted(input_tokens=0, max_output_tokens=0)
    [account] = ledger.books.writes.new_accounts
    give = administration.GiveGrant("g", b"", account.account_id, Limits(nanos=LARGEST_AMOUNT - 10), "r", "admin")
    assert not isinstance(ledger.one(give), Refused)
    change = administration.ChangeBudget("c", b"", 90, Limits(nanos=30), None, None, None, "admin")
    assert not isinstance(ledger.one(change), Refused)
    assert [(entry.kind, entry.by.nanos) for entry in ledger.books.writes.limit_entries][-2:] == [
        (EntryKind.CHANGE, 20), (EntryKind.CUT, -20),
    ]  # fmt: skip
    assert account.limit_nanos == LARGEST_AMOUNT
