"""Leases on the wire: asking for one, the rates its calls are counted by, and what a booked call says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

from .calls import Call, Scope, call_body
from .requests import ApiRequest, Operation, new_key, path_to, post
from .reservations import Grant


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates that apply above a number of input tokens, in US dollars per million tokens of each kind.

    `request` is the fee of a call; services before it was told send none.
    """

    above_input_tokens: int
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    reasoning: Decimal
    request: Decimal = Decimal(0)

    @property
    def dearest_output(self) -> Decimal:
        """The highest rate that a token of output may have."""
        return max(self.output, self.reasoning)


@dataclass(frozen=True, slots=True)
class LeasePrice:
    """The rates that calls on a lease are counted by; the tier with the lowest threshold is the base.

    By default a tier is for all tokens of a call with so much input; where `tier_mode` is "marginal", for the input
    beyond its threshold only.
    """

    tiers: tuple[Tier, ...]
    tier_mode: str = "cliff"

    def tier(self, input_tokens: int) -> Tier:
        """Return the tier of a call with this whole input."""
        threshold = attrgetter("above_input_tokens")
        reached = [tier for tier in self.tiers if input_tokens > tier.above_input_tokens]
        return max(reached, key=threshold, default=min(self.tiers, key=threshold))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Grant):
    """A lease as the service granted it: `held` is for `calls` calls of the size that was asked for.

    `account_ids` are the accounts that it holds room on, None if the service is one that does not tell.
    """

    lease_id: str
    calls: int
    price: LeasePrice | None
    account_ids: tuple[str, ...] | None = None

    def may_be_on(self, account_ids: Collection[str]) -> bool:
        """Whether it holds room on one of these accounts, as far as is known."""
        return self.account_ids is None or not set(self.account_ids).isdisjoint(account_ids)


@dataclass(frozen=True, slots=True)
class Booked:
    """What a call on a lease cost, in US dollars, and why no further one should be made (None: go on)."""

    cost: Decimal = Decimal(0)
    stop: str | None = None


def lease_request(call: Call, scope: Scope, *, calls: int) -> ApiRequest:
    """Build the request for a lease of up to `calls` calls of a size; every lease gets a key of its own."""
    if calls < 1:
        raise ValueError(f"calls is {calls}: ask for a lease of 1 call or more")
    body = {**call_body(call, scope), "idempotency_key": new_key(), "calls": calls}
    return post(path_to("leases"), body, Operation("lease"))
