"""Decides what an event without a hold costs: by its price, as its caller says, or nothing for a cache hit."""

from datetime import datetime

from token_ledger.core.batch.commands import Record
from token_ledger.core.model.charge import Assumed, OtherUse, charge
from token_ledger.core.model.details import NO_DETAILS, Details, Kind
from token_ledger.core.model.price import Price
from token_ledger.core.model.usage import Usage


def cost_of(
    command: Record, price: Price | None, usage: Usage, calls: int, at: datetime, assumed: Assumed
) -> tuple[Usage, int, tuple[OtherUse, ...], bool, Details | None]:
    """Return the usage to book, what it costs, its lines of other kinds, whether all has a price, and the details.

    A cost that the caller states is the price of all. A cache hit uses nothing: its details say what it saved, of which
    nothing is `assumed` for kinds that the price has no rate for.
    """
    if command.event_kind is Kind.CACHE_HIT:
        saved, _, is_priced = charge(price, usage, command.service_tier, 1, at)
        return Usage(), 0, (), is_priced, (command.details or NO_DETAILS).saving(usage, saved)
    cost, others, is_priced = charge(price, usage, command.service_tier, calls, at, assumed)
    if command.cost_nanos is not None:
        return usage, command.cost_nanos, others, True, command.details
    return usage, cost, others, is_priced, command.details
