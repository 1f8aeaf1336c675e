"""Decides what a call is priced by: the price of its model, and what is assumed for what that has no rate for.

Of a call with a hold the unpriced part costs what its hold was priced at, of any other call, and where the hold had no
rate, what stands in for unknown prices.
"""

from datetime import datetime

from token_ledger.core.batch.books import Books
from token_ledger.core.model.charge import NOTHING_ASSUMED, Assumed
from token_ledger.core.model.price import ModelName, Price
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.usage import Usage


def price_on_hold(
    books: Books, reservation: Reservation, at: datetime, served: ModelName | None, usage: Usage
) -> tuple[Price | None, bool]:
    """Return the price of a call and whether it is that of its model.

    Without a known one, also where tokens were used and it has none for these, that of its hold counts.
    """
    if served is not None and served != reservation.to_call:
        price = _price_at(books, served, at)
        if price is not None and (price.has_token_rates or not usage.total_tokens):
            return price, True
    price = _price_of_hold(books, reservation, at)
    is_known = price is not None and not price.stands_in and (served is None or served == reservation.to_call)
    if is_known and usage.total_tokens and not _has_token_rates(price):
        stand_in = books.prices.stand_in_at(at)
        if _has_token_rates(stand_in):
            return stand_in, False
    return price, is_known


def _has_token_rates(price: Price | None) -> bool:
    return price is not None and price.has_token_rates


def assumed_on_hold(
    books: Books, reservation: Reservation, at: datetime, called: ModelName, service_tier: str | None, *, is_known: bool
) -> Assumed:
    """Return what is assumed for other kinds of a call: the rates of its hold as it is held, then of what stands in.

    `is_known` says whether the price of the call is that of its model.
    """
    held, announced = _price_of_hold(books, reservation, at), reservation.announced
    stand_ins = [books.prices.stand_in_at(at)]
    if held is not None and announced is not None:
        held = _served(held, announced.service_tier, reservation.created_at)
        stand_ins.insert(0, books.prices.entry(announced.assumed_by))
    served = (each and _served(each, service_tier, at) for each in stand_ins)
    entries = tuple(each for each in (held, *served) if each is not None)
    if is_known:
        return Assumed(entries)
    own = _price_at(books, called, at)
    if own is None or own.has_token_rates:  # one that was set meanwhile is for later calls
        return Assumed(entries, whole=True)
    return Assumed(entries, whole=True, own=_served(own, service_tier, at))


def price_of_other_model(
    books: Books, reservation: Reservation, at: datetime, called: ModelName, usage: Usage, service_tier: str | None
) -> tuple[Price | None, bool, Assumed]:
    """Return the price of what another model used within a call, whether it is that of the model, and what is assumed.

    They are the same as if the model had served the call.
    """
    price, is_known = price_on_hold(books, reservation, at, called, usage)
    if is_known and not usage.others:
        return price, is_known, NOTHING_ASSUMED
    assumed = assumed_on_hold(books, reservation, at, called, service_tier, is_known=is_known)
    return price, is_known, assumed


def price_without_hold(
    books: Books, called: ModelName, at: datetime, usage: Usage, service_tier: str | None
) -> tuple[Price | None, Assumed]:
    """Return the price of a call without a hold and what is assumed: that of its model, else what stands in.

    That is so also where tokens were used and the model has no price for these.
    """
    own = _price_at(books, called, at)
    is_known = own is not None and (own.has_token_rates or not usage.total_tokens)
    if is_known and not usage.others:
        return own, NOTHING_ASSUMED  # nearly always
    stand_in = books.prices.stand_in_at(at)
    if stand_in is None:
        return own, NOTHING_ASSUMED
    if own is not None and (is_known or not stand_in.has_token_rates):
        return own, Assumed((_served(stand_in, service_tier, at),))
    return stand_in, Assumed(whole=True, own=None if own is None else _served(own, service_tier, at))


def _price_of_hold(books: Books, reservation: Reservation, at: datetime) -> Price | None:
    # A process that started before the price book was refreshed may not know the entry.
    price = books.prices.entry(reservation.price_id, reservation.discount_id)
    return price or _price_at(books, reservation.to_call, at)


def _price_at(books: Books, called: ModelName, at: datetime) -> Price | None:
    prices = books.prices.find(*called)
    return None if prices is None else prices.at(at)


def _served(price: Price, service_tier: str | None, at: datetime) -> Price:
    """Return the rates of a way of serving, the standard ones if it has none of its own."""
    return price.served_as(service_tier, at) or price
