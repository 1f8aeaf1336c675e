"""Leases on the wire: asking for one, the rates its calls are counted by, and booking those calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

from ..errors import ApiError, InvalidAnswer
from .calls import Call, Scope, call_body
from .fields import Fields
from .problems import error_from, problem_of
from .requests import ApiRequest, Operation, new_key, path_to, post
from .reservations import Grant

MAX_OPERATIONS = 256
"""The most operations that the service takes in one request."""


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
    """A lease as the service granted it: `held` is for `calls` calls of the size that was asked for."""

    lease_id: str
    calls: int
    price: LeasePrice | None


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


def operations_request(operations: Sequence[str]) -> ApiRequest:
    """Build the request that executes operations (JSON texts, at most 256), each with a key of its own."""
    return ApiRequest("POST", path_to("operations"), f'{{"operations": [{", ".join(operations)}]}}'.encode())


def tenant_request() -> ApiRequest:
    """Build the request that asks which tenant a key is of: one operation that is none, which changes nothing."""
    return operations_request(["{}"])


def read_results(answer: Fields, operations: int) -> list[Fields | ApiError]:
    """Read the answer or the error of each operation, in the order in which they were sent."""
    results = [_result(item) for item in answer.children("results")]
    if len(results) != operations:
        raise InvalidAnswer(f"answer.results has {len(results)} items for {operations} operations")
    return results


def _result(item: Fields) -> Fields | ApiError:
    status, body = item.integer("status"), item.child("body")
    return body if status < 300 else error_from(problem_of(status, body.raw))
