"""Runs on the wire: opening, reading, stepping, splitting and ending them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from .amounts import NO_AMOUNTS, Amounts, Balance, Limits, Share
from .calls import check_names
from .requests import ApiRequest, get, given, new_key, path_to, post


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one agent type has of a run."""

    agent_type: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class Iterations:
    """How many iterations a run has `taken`, including its sub-runs', of at most `limit` (None: no limit)."""

    taken: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An iteration of a run that has begun: its number, counted from 1, and how many there may be."""

    run_id: str
    step_id: str
    iteration: int
    iterations: Iterations = Iterations()
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A run at the time of the answer; `state` is open, closed, or cancelled.

    `balance` is None for a run without limits of its own.
    """

    run_id: str
    parent_run_id: str | None
    external_id: str | None
    state: str
    user: str
    cost_center: str | None
    strict: bool
    created_at: datetime
    ended_at: datetime | None
    iterations: Iterations = Iterations()
    balance: Balance | None
    allocations: tuple[Allocation, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class RunShare:
    """How many tokens of a run one agent type gets."""

    agent_type: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNews:
    """How a run stands, as the service tells who listens; `state` is open, closed, or cancelled.

    `stop` says why no further call should be made: "run_cancelled" or "run_closed", of this run or one that it is part
    of, or "tenant_stopped". `setup_version` rises when budgets, triggers, prices or users of the tenant change.
    """

    sequence: int
    run_id: str
    state: str
    stop: str | None
    iterations: Iterations = Iterations()
    limits: Amounts = NO_AMOUNTS
    shares: tuple[RunShare, ...]
    setup_version: int

    @property
    def terms(self) -> object:
        """What leases of the run are given by."""
        return self.limits, self.shares, self.setup_version


class Opening(TypedDict, total=False):
    """What a run may be given: limits, iterations, a split of its tokens over agent types.

    `preset` names a set of limits ("job": 50,000 tokens and 20 iterations, split over the usual agent types;
    "open_end": none); whatever is given besides replaces that part of the preset. `allocation` maps agent types to
    weights or shares; a `strict` run refuses agent types that are not in it. With `attach`, an open run of the same
    `external_id` is joined if there is one, and leaving the block does not close it.
    """

    external_id: str
    limits: Limits
    iterations: int
    preset: Literal["job", "open_end"]
    allocation: Mapping[str, int | Share]
    strict: bool
    attach: bool
    idempotency_key: str


def open_request(
    opening: Opening, *, user: str | None = None, cost_center: str | None = None, parent_run_id: str | None = None
) -> ApiRequest:
    """Build the request that opens a run for a user, or as a part of another run."""
    check_names(opening, Opening)
    body: dict[str, object] = {"idempotency_key": new_key(), **given(opening)}
    body |= {"user": user, "cost_center": cost_center, "parent_run_id": parent_run_id}
    if "limits" in body:
        body["limits"] = opening["limits"].to_json()
    if "allocation" in body:
        body["allocation"] = _allocation_list(opening["allocation"])
    return post(path_to("runs"), body)


def step_request(run_id: str, label: str | None = None, idempotency_key: str | None = None) -> ApiRequest:
    """Build the request that begins another iteration of a run."""
    return post(path_to("runs", run_id, "steps"), {"idempotency_key": idempotency_key or new_key(), "label": label})


def rebalance_request(
    run_id: str, allocation: Mapping[str, int | Share], idempotency_key: str | None = None
) -> ApiRequest:
    """Build the request that splits what a run has available over agent types again."""
    body = {"idempotency_key": idempotency_key or new_key(), "allocation": _allocation_list(allocation)}
    return post(path_to("runs", run_id, "rebalance"), body)


def read_request(run_id: str) -> ApiRequest:
    """Build the request that reads a run."""
    return get(path_to("runs", run_id))


def end_request(run_id: str, verb: Literal["cancel", "close"]) -> ApiRequest:
    """Build the request that cancels or closes a run; its key is fixed, as a run ends only once."""
    return post(path_to("runs", run_id, verb), {"idempotency_key": f"{verb}:{run_id}"})


def _allocation_list(allocation: Mapping[str, int | Share]) -> list[dict[str, object]]:
    shares = {name: Share(part) if isinstance(part, int) else part for name, part in allocation.items()}
    return [{"agent_type": name, **share.to_json()} for name, share in shares.items()]
