"""Decides what a call costs everybody, where the tenant has a discount or a price of its own."""

from datetime import datetime

from token_ledger.core.batch.books import Books
from token_ledger.core.model.charge import charge
from token_ledger.core.model.parts import DrawnUse, charge_part
from token_ledger.core.model.price import ModelName, Price
from token_ledger.core.model.usage import Usage


def list_cost(
    books: Books, price: Price | None, called: ModelName, usage: Usage, service_tier: str | None, calls: int,
    at: datetime, before: DrawnUse | None = None,
) -> tuple[int | None, int | None]:  # fmt: skip
    """Return by which entry a call costs what it costs everybody, None if it is that of its price, and how much.

    The cost is None where it is the call's own, also where the entry has no price for a part of the usage. Of a part of
    a call, `before` is what was used of it.
    """
    if price is None or (price.price_id > 0 and price.discount_id is None):
        return None, None  # nearly always
    listed = price.listed
    if listed is None and not price.stands_in:
        prices = books.prices.find(*called)
        listed = None if prices is None else prices.list_at(at)
    if listed is None:
        return None, None
    if before is None:
        cost, _, is_priced = charge(listed, usage, service_tier, calls, at)
    else:
        cost, _, is_priced = charge_part(listed, usage, service_tier, calls, at, before.at_list_cost)
    if not is_priced:
        return None, None
    return (None if listed.price_id == price.price_id else listed.price_id), cost
