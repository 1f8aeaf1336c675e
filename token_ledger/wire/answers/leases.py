"""Answers about leases: the hold, and the prices by which its client counts calls."""

from typing import Annotated, Literal

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Granted
from token_ledger.core.model.hold_cost import Announced, Size, call_rate
from token_ledger.core.model.price import Price
from token_ledger.wire.answers.reservations import Hold, hold_fields
from token_ledger.wire.fields import answer, doc, example_of
from token_ledger.wire.token_kinds import TierAnswer, tier_answer


@answer
class LeasePriceAnswer(TypedDict):
    """The rates by which the calls of a lease are counted: those of an entry of the price book."""

    price_id: Annotated[str, doc("The entry.", "412")]
    tiers: Annotated[list[TierAnswer], doc("Rates by size of the input, ascending.", [example_of(TierAnswer)])]
    tier_mode: Annotated[
        Literal["cliff", "marginal"],
        doc("Whether a tier is for all tokens of a call with so much input, or for the input beyond only.", "cliff"),
    ]


@answer
class LeaseAnswer(Hold):
    """A lease as it stands, and the rates by which its calls are counted."""

    lease_id: Annotated[str, doc("Settle parts of the lease, and release it, with this id.", "68354049")]
    seconds_left: Annotated[
        float | None, doc("Seconds until it expires. Null in a replayed answer, whose age is unknown.", 300.0)
    ]
    calls: Annotated[int, doc("For how many calls it holds room.", 50)]
    account_ids: Annotated[list[str], doc("The accounts that it holds room on.", ["68288513"])]
    price: Annotated[
        LeasePriceAnswer | None, doc("The rates of its calls; null if its price is gone.", example_of(LeasePriceAnswer))
    ]


def lease_answer(outcome: Granted) -> LeaseAnswer:
    """Return a lease as it stands."""
    lease, price = outcome.reservation, outcome.price
    return {
        "lease_id": str(lease.reservation_id),
        **hold_fields(lease, replayed=outcome.replayed),
        "seconds_left": None if outcome.replayed else (lease.expires_at - lease.created_at).total_seconds(),
        "calls": lease.held_calls,
        "account_ids": [str(account_id) for account_id in lease.path],
        "price": None if price is None else price_answer(price, lease.announced, outcome.assumed_rates),
    }


def price_answer(
    price: Price, announced: Announced | None = None, assumed_rates: tuple[tuple[str, int], ...] = ()
) -> LeasePriceAnswer:
    """Return the rates of a price by tier, for calls that announce this; some of it may have the rates assumed."""
    others = () if announced is None else announced.max_usage
    begins = [(0, 0, price.base), *((above, above + 1, rates) for above, rates in price.tiers)]
    tiers = [
        (above, rates, call_rate(price, Size(tokens, 0, 0, None, others, assumed_rates)))
        for above, tokens, rates in begins
    ]
    return {
        "price_id": str(price.price_id),
        "tiers": [tier_answer(*tier) for tier in tiers],
        "tier_mode": "marginal" if price.tiers_are_marginal else "cliff",
    }
