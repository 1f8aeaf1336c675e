"""Runs on the wire: opening, reading, ending them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from .amounts import Balance, Limits, Share
from .fields import Fields
from .wire import ApiRequest, get, new_key, path_to, post


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one agent type has of a run."""

    agent_type: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class Iterations:
    """How many iterations a run has `taken`, those of its sub-runs included, of at most `limit` (None: no limit)."""

    taken: int = 0
    limit: int | None = None

    @classmethod
    def parse(cls, fields: Fields | None) -> Iterations:
        return cls() if fields is None else cls(fields.integer("taken"), fields.optional_integer("limit"))


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration of a run that has begun: its number, from 1, and how many there may be."""

    run_id: str
    step_id: str
    iteration: int
    iterations: Iterations
    replayed: bool

    @classmethod
    def parse(cls, fields: Fields) -> Step:
        return cls(
            run_id=fields.text("run_id"),
            step_id=fields.text("step_id"),
            iteration=fields.integer("iteration"),
            iterations=Iterations.parse(fields.optional_child("iterations")),
            replayed=fields.flag("replayed"),
        )


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run as the service saw it when it answered; `state` is open, closed, or cancelled.

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
    iterations: Iterations
    balance: Balance | None
    allocations: tuple[Allocation, ...]
    replayed: bool

    @classmethod
    def parse(cls, fields: Fields) -> RunSnapshot:
        return cls(
            run_id=fields.text("run_id"),
            parent_run_id=fields.optional_text("parent_run_id"),
            external_id=fields.optional_text("external_id"),
            state=fields.text("state"),
            user=fields.text("user"),
            cost_center=fields.optional_text("cost_center"),
            strict=fields.flag("strict"),
            created_at=fields.time("created_at"),
            ended_at=fields.optional_time("ended_at"),
            iterations=Iterations.parse(fields.optional_child("iterations")),
            balance=Balance.parse(fields.child("balance")) if fields.has("balance") else None,
            allocations=tuple(
                Allocation(item.text("agent_type"), Balance.parse(item.child("balance")))
                for item in fields.children("allocations")
            ),
            replayed=fields.flag("replayed"),
        )


class Opening(TypedDict, total=False):
    """What a run may be given: limits, iterations, a split of its tokens over agent types.

    `preset` names limits to begin with ("job": 50,000 tokens and 20 iterations, split as usual; "open_end": none);
    what is given besides replaces that part of it. `allocation` maps agent types to weights or shares; a `strict`
    run refuses agent types that are not in it. With `attach`, an open run of the same `external_id` is taken part
    in, if there is one, and leaving the block does not close it.
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
    *,
    user: str | None = None,
    cost_center: str | None = None,
    parent_run_id: str | None = None,
    external_id: str | None = None,
    limits: Limits | None = None,
    iterations: int | None = None,
    preset: Literal["job", "open_end"] | None = None,
    allocation: Mapping[str, int | Share] | None = None,
    strict: bool = False,
    attach: bool = False,
    idempotency_key: str | None = None,
) -> ApiRequest:
    """Build the request that opens a run for a user, or as a part of another run."""
    return post(
        path_to("runs"),
        {
            "idempotency_key": idempotency_key or new_key(),
            "external_id": external_id,
            "user": user,
            "cost_center": cost_center,
            "parent_run_id": parent_run_id,
            "limits": None if limits is None else limits.to_json(),
            "iterations": iterations,
            "preset": preset,
            "allocation": None if allocation is None else _allocation_list(allocation),
            "strict": True if strict else None,
            "attach": True if attach else None,
        },
    )


def step_request(run_id: str, label: str | None = None, idempotency_key: str | None = None) -> ApiRequest:
    """Build the request that begins another iteration of a run."""
    return post(path_to("runs", run_id, "steps"), {"idempotency_key": idempotency_key or new_key(), "label": label})


def rebalance_request(
    run_id: str, allocation: Mapping[str, int | Share], idempotency_key: str | None = None
) -> ApiRequest:
    """Build the request that splits anew what a run has available."""
    body = {"idempotency_key": idempotency_key or new_key(), "allocation": _allocation_list(allocation)}
    return post(path_to("runs", run_id, "rebalance"), body)


def _allocation_list(allocation: Mapping[str, int | Share]) -> list[dict[str, object]]:
    shares = {name: Share(part) if isinstance(part, int) else part for name, part in allocation.items()}
    return [{"agent_type": name, **share.to_json()} for name, share in shares.items()]


def read_request(run_id: str) -> ApiRequest:
    """Build the request that reads a run."""
    return get(path_to("runs", run_id))


def end_request(run_id: str, verb: str) -> ApiRequest:
    """Build the request that cancels or closes a run; its key is fixed, as a run ends only once."""
    return post(path_to("runs", run_id, verb), {"idempotency_key": f"{verb}:{run_id}"})
