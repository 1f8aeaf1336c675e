"""Commands of reservations and leases."""

from typing import Any

from token_ledger.core.batch import commands
from token_ledger.core.batch.administration import ForceRelease
from token_ledger.core.model.hold_cost import CacheWrite
from token_ledger.core.model.other_kinds import others_of
from token_ledger.wire.bodies import reservations as bodies
from token_ledger.wire.commands.fields import check_user, details_of, fingerprint_of, service_tier_of, tags_of
from token_ledger.wire.problems import invalid_field
from token_ledger.wire.token_kinds import usage_of


def reserve_command(body: bodies.ReservationBody) -> commands.Reserve:
    """Return the command for a reservation."""
    return commands.Reserve(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        ttl_seconds=body.ttl_seconds,
        **call_fields(body),
    )


def lease_command(body: bodies.LeaseBody) -> commands.Lease:
    """Return the command for a lease."""
    return commands.Lease(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        ttl_seconds=body.ttl_seconds,
        calls=body.calls,
        **call_fields(body),
    )


def call_fields(body: bodies.CallBody, within: str = "") -> dict[str, Any]:
    """Return the fields of a command that describe its call; `within` is where the body stands in the request."""
    check_user(body.run_id, body.user, body.cost_center, within)
    if body.cached_input_tokens > body.input_tokens:
        detail = f"{body.cached_input_tokens} is more than input_tokens, which includes cached tokens"
        raise invalid_field(within + "cached_input_tokens", detail)
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
        "max_usage": others_of({str(kind): most for kind, most in body.max_usage.items()}) if body.max_usage else (),
        "service_tier": service_tier_of(body.service_tier),
    }


def settle_command(body: bodies.SettlementBody, reservation_id: int) -> commands.Settle:
    """Return the command for a settlement; without a key of its own, the key is the reservation's."""
    if body.part and body.idempotency_key is None:
        raise invalid_field("idempotency_key", "give every part a key of its own, because a hold can have many parts")
    return commands.Settle(
        key=body.idempotency_key or commands.settle_key(reservation_id),
        fingerprint=fingerprint_of(body, reservation_id),
        reservation_id=reservation_id,
        usage=usage_of(body.usage),
        provider=body.provider,
        model=body.model,
        occurred_at=body.occurred_at,
        failed=body.outcome == "error",
        estimated=body.estimated,
        response_id=body.response_id,
        original_input_tokens=body.original_input_tokens,
        part=body.part,
        tool=body.tool,
        service_tier=service_tier_of(body.service_tier),
        other_models=tuple(
            commands.OtherModel(each.provider, each.model, usage_of(each.usage), service_tier_of(each.service_tier))
            for each in body.other_models
        ),
        details=details_of(body.measured),
    )


def extend_command(body: bodies.ExtensionBody, reservation_id: int) -> commands.Extend:
    """Return the command that extends a hold."""
    return commands.Extend(body.idempotency_key, fingerprint_of(body, reservation_id), reservation_id, body.ttl_seconds)


def release_command(body: bodies.ReleaseBody, reservation_id: int) -> commands.Release:
    """Return the command for a release."""
    key = body.idempotency_key or f"release:{reservation_id}"
    return commands.Release(key, fingerprint_of(body, reservation_id), reservation_id, body.reason)


def force_release_command(body: bodies.ForceReleaseBody, reservation_id: int, actor: str) -> ForceRelease:
    """Return the command that ends a hold whose client is believed dead."""
    print_ = fingerprint_of(body, reservation_id)
    return ForceRelease(body.idempotency_key, print_, reservation_id, body.reason, actor)
