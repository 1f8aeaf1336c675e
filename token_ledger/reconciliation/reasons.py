"""Names probable reasons why a bill and the ledger differ in a cell, each with the dollars that it explains.

They are looked for in this order, until no more is left than amounts may have been rounded by:

* **booked before**: what reconciliations have booked in the cell.
* **time zone**: the difference between the ledger's calls in the day of the bill and in the day of UTC, where
  `time_zones` found that the bill's days are others.
* **fees**: a line of the bill that is no model, such as web searches, code execution, storage or sessions; in the cell
  of a model the opposite, what the ledger counted by the piece with the model and the bill has in such lines.
* **unpriced**: what the ledger's calls without a price would have cost, at a price that the book has by now, else at
  what the bill takes for the same number of tokens.
* **untracked calls**: the tokens, kind by kind, that the bill has and the ledger has not, at the rates of the ledger's
  calls. Where the ledger has no call at all, all that is left.
* **calls the bill does not have**: the reverse.
* **service tier**: the same tokens in the service tiers that the bill says; or where it says none, what is left is
  what all tokens cost in another tier of the same price entry.
* **price date**: what is left is what all tokens cost at another entry of the same model, older or newer, in the same
  tier, or together with another tier.
* **price**: the same tokens cost more or less than at the rates of the price book; the detail says how many times.
* **rounding**: no more is left than the bound. It is half of the last place that each amount of the bill is written
  to, at most half a cent a line, and half a nano-dollar for each of the six kinds of tokens of each event.
* **unexplained**: what then is left.

A bill without tokens is taken to be of the ledger's tokens, so it can't show untracked calls but for a whole cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Final

from token_ledger.core.model.price import STANDARD, Price, PriceBook
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.reconciliation.cells import Billed, Booked, Cell
from token_ledger.reconciliation.token_counts import ByTier, Rate, difference, value_nanos


class Cause(StrEnum):
    """Why a bill and the ledger differ."""

    BOOKED_BEFORE = "booked before"
    TIME_ZONE = "time zone"
    FEES = "fees"
    UNPRICED = "unpriced"
    UNTRACKED = "untracked calls"
    NOT_BILLED = "calls the bill does not have"
    SERVICE_TIER = "service tier"
    PRICE_DATE = "price date"
    PRICE = "price"
    ROUNDING = "rounding"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause, and how many dollars of what the bill has more than the ledger it explains."""

    cause: Cause
    nanos: int
    detail: str = ""


class _Rest:
    """What is left to be explained, and the reasons so far."""

    def __init__(self, nanos: int, bound: int) -> None:
        self.nanos, self.bound, self.reasons = nanos, bound, list[Reason]()

    @property
    def is_explained(self) -> bool:
        return abs(self.nanos) <= self.bound

    def take(self, cause: Cause, nanos: int, detail: str = "") -> None:
        if nanos:
            self.reasons.append(Reason(cause, nanos, detail))
            self.nanos -= nanos

    def ended(self) -> tuple[Reason, ...]:
        self.take(Cause.ROUNDING if self.is_explained else Cause.UNEXPLAINED, self.nanos)
        return tuple(self.reasons)


_OF_AN_EVENT: Final = len(KINDS)
"""Twice how many nano-dollars the cost of an event may be rounded by."""


def reasons_of(cell: Cell, book: PriceBook, *, has_fees: bool) -> tuple[Reason, ...]:
    """Return why the sides of a cell differ; the dollars add up to the difference.

    `has_fees` says that the bill has lines of the same provider and day that are no models.
    """
    billed, booked = cell.billed, cell.booked
    bound = billed.bound_nanos + (booked.events * _OF_AN_EVENT + 1) // 2
    rest = _Rest(billed.nanos - cell.in_utc.nanos - cell.adjusted_nanos, bound)
    for step in _steps(rest, cell, book, has_fees):
        if rest.is_explained or step:
            break
    return rest.ended()


def _steps(rest: _Rest, cell: Cell, book: PriceBook, has_fees: bool) -> Iterator[bool]:
    """Look for one reason after the other; yields whether it was the last."""
    billed, booked = cell.billed, cell.booked
    yield False
    rest.take(Cause.BOOKED_BEFORE, -cell.adjusted_nanos)
    yield False
    rest.take(Cause.TIME_ZONE, booked.nanos - cell.in_utc.nanos)
    yield False
    if cell.key.item:
        rest.take(Cause.FEES, rest.nanos, cell.key.item)
        yield True
    if has_fees:
        rest.take(Cause.FEES, -sum(row.unit_nanos for row in booked.rows), "the bill has them in lines of their own")
    if not booked.events:
        rest.take(Cause.UNTRACKED, rest.nanos, _tokens(billed.usage))
        yield True
    if not billed.nanos and not billed.says_tokens:
        rest.take(Cause.NOT_BILLED, rest.nanos, _tokens(booked.usage))
        yield True
    yield False
    rate = _rate_of(cell, book)
    _take_unpriced(rest, billed, booked.unpriced, rate)
    yield False
    if billed.says_tokens:
        _take_other_tokens(rest, billed, booked, rate)
        yield False
    if rate is not None:
        _take_rates(rest, cell, book, rate)
        yield False
    if billed.says_tokens:
        _take_price(rest, billed, booked, rate)
    yield True


def _rate_of(cell: Cell, book: PriceBook) -> Rate | None:
    """Return what most of the ledger's tokens in a cell were priced by, else what the book says, if it does."""
    at = datetime.combine(cell.key.day, time(12), UTC)
    tokens: dict[tuple[int, int | None, str], int] = {}
    for row in cell.booked.rows:
        if row.price_id and not row.unpriced:
            name = (row.price_id, row.discount_id, row.service_tier or STANDARD)
            tokens[name] = tokens.get(name, 0) + row.usage.total_tokens
    if tokens:
        price_id, discount_id, tier = max(tokens, key=lambda name: tokens[name])
        price = book.entry(price_id, discount_id)
        if price is not None:
            return Rate(price, tier, at)
    prices = book.find(cell.key.provider, cell.key.model) if cell.key.model else None
    price = None if prices is None else prices.at(at)
    return None if price is None else Rate(price, STANDARD, at)


def _take_unpriced(rest: _Rest, billed: Billed, unpriced: Booked, rate: Rate | None) -> None:
    usage = unpriced.usage
    if not unpriced.events:
        return
    cost = None if rate is None else rate.cost(unpriced.by_tier)
    if cost is None and billed.says_tokens:
        cost = billed.nanos * usage.total_tokens // (billed.usage.total_tokens or 1)
    if cost is not None:
        events = f"{unpriced.events:,} call{'s' * (unpriced.events != 1)}"
        rest.take(Cause.UNPRICED, cost - unpriced.nanos, f"{events} without a price, {_tokens(usage)}")


def _take_other_tokens(rest: _Rest, billed: Billed, booked: Booked, rate: Rate | None) -> None:
    """Take the tokens that only one side has."""
    kinds = difference(billed.usage, booked.usage)
    more, fewer = [max(0, tokens) for tokens in kinds], [min(0, tokens) for tokens in kinds]
    price = None if rate is None else rate.served_as(rate.service_tier)
    for cause, tokens in ((Cause.UNTRACKED, more), (Cause.NOT_BILLED, fewer)):
        if price is not None:
            nanos = value_nanos(price, tokens)
        else:
            nanos = billed.nanos * sum(tokens) // (billed.usage.total_tokens or 1)
        rest.take(cause, nanos, f"{abs(sum(tokens)):,} tokens")


def _take_rates(rest: _Rest, cell: Cell, book: PriceBook, rate: Rate) -> None:
    """Take what the same tokens cost in another service tier or at another entry."""
    billed, booked = cell.billed, cell.booked
    by_tier: ByTier = billed.by_tier if billed.says_tokens else {None: booked.usage}
    supposed = rate.cost(by_tier)
    if supposed is None:
        return
    if by_tier.keys() - {None}:
        of_bill = _beyond_one_tier(rate, billed.by_tier, billed.usage)
        of_ledger = _beyond_one_tier(rate, booked.by_tier, booked.usage)
        if of_bill is not None and of_ledger is not None:
            rest.take(Cause.SERVICE_TIER, of_bill - of_ledger, _tiers(billed))
        if rest.is_explained:
            return
    for tier, price in _other_rates(cell, book, rate):
        by_price = Rate(price, rate.service_tier, rate.at).cost(by_tier)
        by_both = Rate(price, tier, rate.at).cost(by_tier)
        if by_price is None or by_both is None or abs(rest.nanos - (by_both - supposed)) > rest.bound:
            continue
        rest.take(Cause.SERVICE_TIER, by_both - by_price, f"{tier} instead of {rate.service_tier}")
        rest.take(Cause.PRICE_DATE, by_price - supposed, _validity(price))
        return


def _beyond_one_tier(rate: Rate, by_tier: ByTier, usage: Usage) -> int | None:
    """Return what tokens cost more by their tiers than all in the same one, None where one has no price."""
    cost, plain = rate.cost(by_tier), rate.cost({None: usage})
    return None if cost is None or plain is None else cost - plain


def _tiers(billed: Billed) -> str:
    said = sorted((str(tier), usage.total_tokens) for tier, usage in billed.by_tier.items() if tier is not None)
    return "the bill has " + ", ".join(f"{tokens:,} tokens as {tier}" for tier, tokens in said)


def _other_rates(cell: Cell, book: PriceBook, rate: Rate) -> Iterator[tuple[str, Price]]:
    """Yield all tiers of the same entry, then those of each other one, the same tier first."""
    prices = book.find(cell.key.provider, cell.key.model) if cell.key.model else None
    others = [] if prices is None else [each for each in prices.dated if each.price_id != rate.price.price_id]
    for price in (rate.price, *others):
        for tier in dict.fromkeys((rate.service_tier, STANDARD, *price.service_tiers)):
            yield tier, price


def _validity(price: Price) -> str:
    since = "the start" if price.valid_from is None else f"{price.valid_from:%Y-%m-%d}"
    return f"the price that is valid from {since} on"


def _take_price(rest: _Rest, billed: Billed, booked: Booked, rate: Rate | None) -> None:
    """Take what the bill's own tokens cost more or less than they are supposed to, as far as it is left."""
    supposed = None if rate is None else rate.cost(billed.by_tier)
    if supposed is None and booked.usage.total_tokens:
        supposed = booked.nanos * billed.usage.total_tokens // booked.usage.total_tokens
    if not supposed:
        return
    beyond = billed.nanos - supposed
    if abs(beyond) > rest.bound and beyond * rest.nanos > 0:
        times = Decimal(billed.nanos) / Decimal(supposed)
        detail = f"the bill's rates are {times:.4f} times those of the price book"
        rest.take(Cause.PRICE, rest.nanos if abs(rest.nanos) <= abs(beyond) + rest.bound else beyond, detail)


def _tokens(usage: Usage) -> str:
    return f"{usage.total_tokens:,} tokens" if usage.total_tokens else ""
