"""Turns request bodies into commands. What a body alone can't show (who the run belongs to) is the core's to decide."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from token_ledger.api.problems import ProblemError
from token_ledger.api.wire import (
    CallBody,
    EventBody,
    ExtensionBody,
    LeaseBody,
    LimitsBody,
    PreflightBody,
    RebalanceBody,
    ReleaseBody,
    ReservationBody,
    RunBody,
    RunEndBody,
    SettlementBody,
    ShareBody,
    StepBody,
    UsageBody,
)  # fmt: skip
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Limits
from token_ledger.core.commands import (
    EndRun,
    Extend,
    OpenLease,
    OpenRun,
    Preflight,
    Rebalance,
    Record,
    Release,
    Reserve,
    Settle,
    TakeStep,
    fingerprint,
)  # fmt: skip
from token_ledger.core.money import parse_money
from token_ledger.core.outcomes import Code
from token_ledger.core.price import CacheWrite
from token_ledger.core.run import PRESETS, RunState
from token_ledger.core.usage import Usage

_KEY = {"idempotency_key"}


def fingerprint_of(body: BaseModel) -> bytes:
    """Return what tells whether two bodies say the same, whatever their keys are."""
    # Defaults are left out, so that a field added in a later version does not turn a retry into a conflict.
    return fingerprint(body.model_dump_json(exclude_defaults=True, exclude=_KEY).encode())


def tags_of(tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return names and values in the order of the names."""
    return tuple(sorted(tags.items()))


def _check_user(run_id: str | None, user: str | None, cost_center: str | None, within: str = "") -> None:
    if run_id is None and user is None:
        raise invalid(within + "user", "user is required without run_id")
    if run_id is not None and (user is not None or cost_center is not None):
        field = "user" if user is not None else "cost_center"
        raise invalid(within + field, f"{field} comes from the run and must not be given with run_id")


def invalid(field: str, message: str) -> ProblemError:
    """Return the problem of a body whose fields do not go together."""
    return ProblemError(422, Code.INVALID_REQUEST.value, f"{field}: {message}", field=field)


def reserve_command(body: ReservationBody) -> Reserve:
    """Return the command for a reservation."""
    return Reserve(
        key=body.idempotency_key, fingerprint=fingerprint_of(body), ttl_seconds=body.ttl_seconds, **_call(body)
    )


def lease_command(body: LeaseBody) -> OpenLease:
    """Return the command for a lease."""
    return OpenLease(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        ttl_seconds=body.ttl_seconds,
        calls=body.calls,
        **_call(body),
    )


def preflight_command(body: PreflightBody) -> Preflight:
    """Return the command for a preflight."""
    if sum(call.count for call in body.calls) > _MOST_PLANNED:
        raise invalid("calls", f"a preflight is about at most {_MOST_PLANNED} calls")
    return Preflight(
        tuple(
            (Reserve("", b"", **_call(call, f"calls.{position}.")), call.count)
            for position, call in enumerate(body.calls)
        )
    )


_MOST_PLANNED = 1_000


def _call(body: CallBody, within: str = "") -> dict[str, Any]:
    _check_user(body.run_id, body.user, body.cost_center, within)
    if body.cached_input_tokens > body.input_tokens:
        raise invalid(within + "cached_input_tokens", "cached_input_tokens is more than input_tokens")
    return {
        "agent_type": body.agent_type,
        "provider": body.provider,
        "model": body.model,
        "input_tokens": body.input_tokens,
        "max_output_tokens": body.max_output_tokens,
        "run_id": None if body.run_id is None else int(body.run_id),
        "user": body.user,
        "cost_center": body.cost_center,
        "request_type": body.request_type,
        "cached_input_tokens": body.cached_input_tokens,
        "cache_write": None if body.cache_write is None else CacheWrite(body.cache_write),
        "tool": body.tool,
        "requires": body.requires,
        "tags": tags_of(body.tags) if body.tags else (),
        "apply": body.apply,
    }


def settle_command(body: SettlementBody, reservation_id: int) -> Settle:
    """Return the command for a settlement; its key is the reservation's unless the body has one."""
    if body.part and body.idempotency_key is None:
        raise invalid("idempotency_key", "a part needs a key of its own, for a hold can have many")
    return Settle(
        key=body.idempotency_key or f"settle:{reservation_id}",
        fingerprint=fingerprint_of(body) + reservation_id.to_bytes(8, "big"),
        reservation_id=reservation_id,
        usage=_usage(body.usage),
        provider=body.provider,
        model=body.model,
        occurred_at=body.occurred_at,
        failed=body.outcome == "error",
        estimated=body.estimated,
        response_id=body.response_id,
        original_input_tokens=body.original_input_tokens,
        part=body.part,
        tool=body.tool,
    )


def extend_command(body: ExtensionBody, reservation_id: int) -> Extend:
    """Return the command that extends a hold."""
    print_ = fingerprint_of(body) + reservation_id.to_bytes(8, "big")
    return Extend(body.idempotency_key, print_, reservation_id, body.ttl_seconds)


def release_command(body: ReleaseBody, reservation_id: int) -> Release:
    """Return the command for a release."""
    key = body.idempotency_key or f"release:{reservation_id}"
    print_ = fingerprint_of(body) + reservation_id.to_bytes(8, "big")
    return Release(key, print_, reservation_id, body.reason)


def record_command(body: EventBody, within: str) -> Record:
    """Return the command for an event without a hold."""
    _check_user(body.run_id, body.user, body.cost_center, within)
    return Record(
        source=f"event:{body.source}",
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        agent_type=body.agent_type,
        provider=body.provider,
        model=body.model,
        usage=_usage(body.usage),
        run_id=None if body.run_id is None else int(body.run_id),
        user=body.user,
        cost_center=body.cost_center,
        request_type=body.request_type,
        occurred_at=body.occurred_at,
        failed=body.outcome == "error",
        estimated=body.estimated,
        response_id=body.response_id,
        tool=body.tool,
        tags=tags_of(body.tags),
        body=body.model_dump_json(exclude_defaults=True),
    )


def open_run_command(body: RunBody) -> OpenRun:
    """Return the command for a run; what the body gives wins over its preset."""
    _check_parent(body)
    preset = PRESETS[body.preset or "open_end"]
    shares = _shares(body.allocation) or preset.shares
    limits = limits_of(body.limits).over(preset.limits)
    return OpenRun(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        user=body.user,
        cost_center=body.cost_center,
        external_id=body.external_id,
        limits=limits,
        iterations=preset.iterations if body.iterations is None else body.iterations,
        shares=shares,
        strict=body.strict,
        parent_run_id=None if body.parent_run_id is None else int(body.parent_run_id),
        attach=body.attach,
    )


def _check_parent(body: RunBody) -> None:
    if body.parent_run_id is None and body.user is None:
        raise invalid("user", "user is required without parent_run_id")
    if body.parent_run_id is not None and (body.user is not None or body.cost_center is not None):
        field = "user" if body.user is not None else "cost_center"
        raise invalid(field, f"{field} comes from the parent and must not be given with parent_run_id")
    if body.attach and body.external_id is None:
        raise invalid("external_id", "attach finds a run by its external_id, which is missing")


def _shares(allocation: Sequence[ShareBody]) -> tuple[Share, ...]:
    names = [share.agent_type for share in allocation]
    if len(set(names)) != len(names):
        raise invalid("allocation", "an allocation names each agent type once")
    return tuple(Share(s.agent_type, s.weight, s.minimum_tokens) for s in allocation)


def step_command(body: StepBody, run_id: int) -> TakeStep:
    """Return the command that begins an iteration."""
    return TakeStep(body.idempotency_key, fingerprint_of(body) + run_id.to_bytes(8, "big"), run_id, body.label)


def rebalance_command(body: RebalanceBody, run_id: int) -> Rebalance:
    """Return the command that splits a run anew."""
    print_ = fingerprint_of(body) + run_id.to_bytes(8, "big")
    return Rebalance(body.idempotency_key, print_, run_id, _shares(body.allocation))


def end_run_command(body: RunEndBody, run_id: int, state: RunState, actor: str | None = None) -> EndRun:
    """Return the command that closes or cancels a run; `actor` is who, if an administrator."""
    key = body.idempotency_key or f"{state}:{run_id}"
    return EndRun(key, fingerprint(f"{run_id} {state}".encode()), run_id, state, actor)


def _usage(body: UsageBody) -> Usage:
    return Usage(
        body.input_tokens, body.output_tokens, body.cache_read_tokens,
        body.cache_write_5m_tokens, body.cache_write_1h_tokens, body.reasoning_tokens,
    )  # fmt: skip


def limits_of(body: LimitsBody) -> Limits:
    """Return amounts as the core counts them."""
    return Limits(body.tokens, None if body.cost is None else parse_money(body.cost), body.calls)
