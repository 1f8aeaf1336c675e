"""Turns request bodies into commands. What a body alone can't show (who the run belongs to) is the core's to decide."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from token_ledger.api.problems import ProblemError
from token_ledger.api.wire import (
    BudgetBody,
    EventBody,
    LimitsBody,
    ReleaseBody,
    ReservationBody,
    RunBody,
    RunEndBody,
    SettlementBody,
    TriggerBody,
    UsageBody,
)  # fmt: skip
from token_ledger.core.administration import CreateBudget, SetTrigger
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Counts, Enforcement, Limits
from token_ledger.core.commands import (
    EndRun,
    OpenRun,
    Record,
    Release,
    Reserve,
    Settle,
    fingerprint,
)  # fmt: skip
from token_ledger.core.money import parse_money
from token_ledger.core.outcomes import Code
from token_ledger.core.price import CacheWrite
from token_ledger.core.run import RunState
from token_ledger.core.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.usage import Usage
from token_ledger.core.window import Window

_KEY = {"idempotency_key"}


def _fingerprint(body: BaseModel) -> bytes:
    # Defaults are left out, so that a field added in a later version does not turn a retry into a conflict.
    return fingerprint(body.model_dump_json(exclude_defaults=True, exclude=_KEY).encode())


def _tags(tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(tags.items()))


def _check_user(run_id: str | None, user: str | None, cost_center: str | None, within: str = "") -> None:
    if run_id is None and user is None:
        raise _invalid(within + "user", "user is required without run_id")
    if run_id is not None and (user is not None or cost_center is not None):
        field = "user" if user is not None else "cost_center"
        raise _invalid(within + field, f"{field} comes from the run and must not be given with run_id")


def _invalid(field: str, message: str) -> ProblemError:
    return ProblemError(422, Code.INVALID_REQUEST.value, f"{field}: {message}", field=field)


def reserve_command(body: ReservationBody) -> Reserve:
    """Return the command for a reservation."""
    _check_user(body.run_id, body.user, body.cost_center)
    if body.cached_input_tokens > body.input_tokens:
        raise _invalid("cached_input_tokens", "cached_input_tokens is more than input_tokens")
    return Reserve(
        key=body.idempotency_key,
        fingerprint=_fingerprint(body),
        agent_type=body.agent_type,
        provider=body.provider,
        model=body.model,
        input_tokens=body.input_tokens,
        max_output_tokens=body.max_output_tokens,
        run_id=None if body.run_id is None else int(body.run_id),
        user=body.user,
        cost_center=body.cost_center,
        request_type=body.request_type,
        cached_input_tokens=body.cached_input_tokens,
        cache_write=None if body.cache_write is None else CacheWrite(body.cache_write),
        ttl_seconds=body.ttl_seconds,
        tool=body.tool,
        requires=body.requires,
        tags=_tags(body.tags) if body.tags else (),
        apply=body.apply,
    )


def settle_command(body: SettlementBody, reservation_id: int) -> Settle:
    """Return the command for a settlement; its key is the reservation's unless the body has one."""
    return Settle(
        key=body.idempotency_key or f"settle:{reservation_id}",
        fingerprint=_fingerprint(body) + reservation_id.to_bytes(8, "big"),
        reservation_id=reservation_id,
        usage=_usage(body.usage),
        provider=body.provider,
        model=body.model,
        occurred_at=body.occurred_at,
        failed=body.outcome == "error",
        estimated=body.estimated,
        response_id=body.response_id,
        original_input_tokens=body.original_input_tokens,
    )


def release_command(body: ReleaseBody, reservation_id: int) -> Release:
    """Return the command for a release."""
    key = body.idempotency_key or f"release:{reservation_id}"
    print_ = _fingerprint(body) + reservation_id.to_bytes(8, "big")
    return Release(key, print_, reservation_id, body.reason)


def record_command(body: EventBody, within: str) -> Record:
    """Return the command for an event without a hold."""
    _check_user(body.run_id, body.user, body.cost_center, within)
    return Record(
        source=f"event:{body.source}",
        key=body.idempotency_key,
        fingerprint=_fingerprint(body),
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
        tags=_tags(body.tags),
        body=body.model_dump_json(exclude_defaults=True),
    )


def open_run_command(body: RunBody) -> OpenRun:
    """Return the command for a run."""
    names = [share.agent_type for share in body.allocation]
    if len(set(names)) != len(names):
        raise _invalid("allocation", "an allocation names each agent type once")
    return OpenRun(
        key=body.idempotency_key,
        fingerprint=_fingerprint(body),
        user=body.user,
        cost_center=body.cost_center,
        external_id=body.external_id,
        limits=_limits(body.limits),
        shares=tuple(Share(s.agent_type, s.weight, s.minimum_tokens) for s in body.allocation),
        strict=body.strict,
    )


def end_run_command(body: RunEndBody, run_id: int, state: RunState) -> EndRun:
    """Return the command that closes or cancels a run."""
    key = body.idempotency_key or f"{state}:{run_id}"
    return EndRun(key, fingerprint(f"{run_id} {state}".encode()), run_id, state)


def create_budget_command(body: BudgetBody) -> CreateBudget:
    """Return the command for a budget."""
    limits = _limits(body.limits)
    if limits == Limits():
        raise _invalid("limits", "a budget limits tokens, cost or calls")
    return CreateBudget(
        key=body.idempotency_key,
        fingerprint=_fingerprint(body),
        name=body.name,
        selector=_tags(body.selector),
        limits=limits,
        window=Window(body.window),
        enforcement=Enforcement(body.enforcement),
        counts=Counts(body.counts),
    )


def set_trigger_command(body: TriggerBody) -> SetTrigger:
    """Return the command for a trigger."""
    return SetTrigger(
        key=body.idempotency_key,
        fingerprint=_fingerprint(body),
        kind=TriggerKind(body.kind),
        at_percent=body.at_percent,
        mode=Mode(body.mode),
        per_call_tokens=body.per_call_tokens,
        per_call_nanos=None if body.per_call_cost is None else parse_money(body.per_call_cost),
        downgrades=tuple(_downgrades(body)),
    )


def _downgrades(body: TriggerBody) -> Iterable[Downgrade]:
    for step in body.downgrades:
        yield Downgrade(
            step.provider, step.model, step.to_provider, step.to_model, step.capabilities, step.context_tokens
        )


def _usage(body: UsageBody) -> Usage:
    return Usage(
        body.input_tokens, body.output_tokens, body.cache_read_tokens,
        body.cache_write_5m_tokens, body.cache_write_1h_tokens, body.reasoning_tokens,
    )  # fmt: skip


def _limits(body: LimitsBody) -> Limits:
    return Limits(body.tokens, None if body.cost is None else parse_money(body.cost), body.calls)


def kept_body(value: Any) -> str:
    """Return JSON that PostgreSQL takes for an event that could not be read, cut to what quarantine keeps."""
    text = json.dumps(value)
    if not _is_storable(value, text):
        text = json.dumps({"as_sent": text})
    return text if len(text) <= 20_000 else json.dumps({"cut": text[:20_000]})


def _is_storable(value: Any, text: str) -> bool:
    """Tell whether PostgreSQL keeps this JSON: it has no NUL, no half of a surrogate pair, no NaN and no Infinity."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return "\\u0000" not in text
