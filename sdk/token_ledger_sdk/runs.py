"""Runs on the wire: opening, reading, ending them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .amounts import Balance, Limits, Share
from .fields import Fields
from .wire import ApiRequest, get, new_key, path_to, post


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one agent type has of a run."""

    agent_type: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run as the service saw it when it answered; `state` is open, closed, or cancelled."""

    run_id: str
    external_id: str | None
    state: str
    user: str
    cost_center: str | None
    strict: bool
    created_at: datetime
    ended_at: datetime | None
    balance: Balance
    allocations: tuple[Allocation, ...]
    replayed: bool

    @classmethod
    def parse(cls, fields: Fields) -> RunSnapshot:
        return cls(
            run_id=fields.text("run_id"),
            external_id=fields.optional_text("external_id"),
            state=fields.text("state"),
            user=fields.text("user"),
            cost_center=fields.optional_text("cost_center"),
            strict=fields.flag("strict"),
            created_at=fields.time("created_at"),
            ended_at=fields.optional_time("ended_at"),
            balance=Balance.parse(fields.child("balance")),
            allocations=tuple(
                Allocation(item.text("agent_type"), Balance.parse(item.child("balance")))
                for item in fields.children("allocations")
            ),
            replayed=fields.flag("replayed"),
        )


def open_request(
    *,
    user: str,
    cost_center: str | None = None,
    external_id: str | None = None,
    limits: Limits | None = None,
    allocation: Mapping[str, int | Share] | None = None,
    strict: bool = False,
    idempotency_key: str | None = None,
) -> ApiRequest:
    """Build the request that opens a run; an allocation maps agent types to weights or shares."""
    return post(
        path_to("runs"),
        {
            "idempotency_key": idempotency_key or new_key(),
            "external_id": external_id,
            "user": user,
            "cost_center": cost_center,
            "limits": None if limits is None else limits.to_json(),
            "allocation": None if allocation is None else _allocation_list(allocation),
            "strict": True if strict else None,
        },
    )


def _allocation_list(allocation: Mapping[str, int | Share]) -> list[dict[str, object]]:
    shares = {name: Share(part) if isinstance(part, int) else part for name, part in allocation.items()}
    return [{"agent_type": name, **share.to_json()} for name, share in shares.items()]


def read_request(run_id: str) -> ApiRequest:
    """Build the request that reads a run."""
    return get(path_to("runs", run_id))


def end_request(run_id: str, verb: str) -> ApiRequest:
    """Build the request that cancels or closes a run; its key is fixed, as a run ends only once."""
    return post(path_to("runs", run_id, verb), {"idempotency_key": f"{verb}:{run_id}"})
