"""The commands of events: what is booked without a hold, or kept, where it can't be read."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from token_ledger.core.batch import commands
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.details import Kind
from token_ledger.core.model.money import parse_money
from token_ledger.core.model.usage import LARGEST_USE, Usage
from token_ledger.wire.bodies.events import (
    USAGE_BODIES,
    CacheHitBody,
    EventBody,
    ResponseBody,
    ToolCallBody,
)  # fmt: skip
from token_ledger.wire.commands.fields import check_user, details_of, fingerprint_of, service_tier_of, tags_of
from token_ledger.wire.commands.responses import events_of_response
from token_ledger.wire.fields import Words
from token_ledger.wire.kept_events import kept_body, kept_response
from token_ledger.wire.problems import ProblemError, invalid_field, invalid_problem
from token_ledger.wire.token_kinds import UsageBody, usage_of

Commands = Sequence[commands.Record | commands.Quarantine]
"""One command for an event, and one for each model that the provider called within it."""

_words = TypeAdapter[str](Words)
_response = TypeAdapter(ResponseBody)
_BY_TYPE: Mapping[str, TypeAdapter[Any]] = {
    "llm_call": TypeAdapter(EventBody), "tool_call": TypeAdapter(ToolCallBody), "cache_hit": TypeAdapter(CacheHitBody),
}  # fmt: skip
_KNOWN = frozenset(name for body in USAGE_BODIES for name in body.model_fields) - {"body"}


def event_commands(
    event: Any, within: str, counts_since: datetime | None = None
) -> tuple[Commands, str | None]:  # fmt: skip
    """Return the commands for an event, and the field at fault where it can only be kept.

    `within` is where the event stands in the request. With `counts_since` it is imported (see `model.event.counts_on`).
    Raises ProblemError for one of which nothing can be kept.
    """
    try:
        return _commands(event, within, counts_since), None
    except ValidationError as error:
        problem = invalid_problem(error, within)
    except ProblemError as error:
        problem = error
    named = event if isinstance(event, dict) else {}
    source, key = named.get("source"), named.get("idempotency_key")
    if not (_is_text(source) and _is_text(key)):
        # Without both nothing could find it again, and a repetition would be kept a second time.
        raise problem
    if "body" in named:
        event = {**named, "body": kept_response(named["body"])}
    kept = kept_body(event, _KNOWN)
    print_ = fingerprint(json.dumps(kept).encode())
    return [commands.Quarantine(str(key), print_, str(source), problem.code, problem.detail, kept)], problem.field


def _commands(event: Any, within: str, counts_since: datetime | None) -> Commands:
    record = partial(_record, within=within, counts_since=counts_since)
    if not isinstance(event, dict):
        return [record(_BY_TYPE["llm_call"].validate_python(event), said=event)]
    kind = event.get("type", "llm_call")
    adapter = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if adapter is None:
        raise invalid_field(f"{within}.type", f"use one of {', '.join(_BY_TYPE)}")
    if kind == "llm_call" and "body" in event:
        if "usage" in event:
            raise invalid_field(f"{within}.usage", "give either usage or the provider's response as body, not both")
        whole, *others = events_of_response(_response.validate_python(event), within)
        # Another model that the provider called within the call has a key that only the ledger uses.
        return [
            record(whole, said=_dumped(whole)),
            *(
                record(
                    each, said=_dumped(each), kind=Kind.OTHER_MODEL, key_space=commands.other_model_key_space(number)
                )
                for number, each in enumerate(others, start=1)
            ),
        ]
    return [record(adapter.validate_python(event), said=event)]


def _dumped(body: EventBody) -> Mapping[str, Any]:
    dumped: Mapping[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
    return dumped


def _record(
    body: EventBody | ToolCallBody | CacheHitBody, *, within: str, said: Mapping[str, Any],
    counts_since: datetime | None, kind: Kind | None = None, key_space: str = "",
) -> commands.Record:  # fmt: skip
    check_user(body.run_id, body.user, body.cost_center, f"{within}.")
    make = partial(
        commands.Record,
        event_source=body.source,
        key=body.idempotency_key,
        key_space=key_space,
        fingerprint=fingerprint_of(body),
        agent_type=body.agent_type,
        run_id=None if body.run_id is None else int(body.run_id),
        user=body.user,
        cost_center=body.cost_center,
        request_type=body.request_type,
        occurred_at=body.occurred_at,
        estimated=body.estimated,
        tool=body.tool,
        service_tier=service_tier_of(body.service_tier),
        tags=tags_of(body.tags) if body.tags else (),
        counts_since=counts_since,
        body=said,
    )
    match body:
        case EventBody():
            return make(
                provider=body.provider, model=body.model, usage=_usage(body.usage, within), event_kind=kind,
                failed=body.outcome == "error", response_id=body.response_id, details=details_of(body.measured),
            )  # fmt: skip
        case ToolCallBody():
            return _tool_call(make, body, within)
        case CacheHitBody():
            return make(
                provider=body.provider, model=body.model, usage=_usage(body.usage, within), event_kind=Kind.CACHE_HIT,
                details=details_of(body.measured),
            )  # fmt: skip


def _tool_call(make: partial[commands.Record], body: ToolCallBody, within: str) -> commands.Record:
    given = [name for name in ("provider", "model", "usage") if getattr(body, name) is not None]
    if given and len(given) < len(("provider", "model", "usage")):
        detail = "a tool that used a model says which and how much of it: give provider, model and usage, or none"
        raise invalid_field(f"{within}.{given[0]}", detail)
    cost = None if body.cost is None else parse_money(body.cost)
    if cost is None and not given:
        cost = 0
    return make(
        provider=body.provider or "", model=body.model or "", event_kind=Kind.TOOL_CALL, cost_nanos=cost,
        usage=Usage() if body.usage is None else _usage(body.usage, within), failed=body.outcome == "error",
        details=details_of(body.measured, body.tool_source, from_cache=body.from_cache),
    )  # fmt: skip


def _usage(body: UsageBody, within: str) -> Usage:
    usage = usage_of(body)
    if max(usage.counts) > LARGEST_USE or usage.others:
        for kind, count in usage.by_kind.items():
            if count > LARGEST_USE:
                raise invalid_field(f"{within}.usage.{kind}", f"no call uses more than {LARGEST_USE} of a kind")
    return usage


def _is_text(value: object) -> bool:
    try:
        _words.validate_python(value)
    except ValidationError:
        return False
    return True
