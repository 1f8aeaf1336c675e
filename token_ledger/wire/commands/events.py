"""The commands of events: what is booked without a hold, or kept, where it can't be read."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

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
_BY_TYPE: Mapping[str, type[EventBody] | type[ToolCallBody] | type[CacheHitBody]] = {
    "llm_call": EventBody, "tool_call": ToolCallBody, "cache_hit": CacheHitBody,
}  # fmt: skip
_KNOWN = frozenset(name for body in USAGE_BODIES for name in body.model_fields) - {"body"}


def event_commands(
    event: Any, within: str, counts_since: datetime | None = None, *, may_grow: bool = False,
    spooled_since: datetime | None = None,
) -> tuple[Commands, str | None]:  # fmt: skip
    """Return the commands for an event, and the field at fault where it can only be kept.

    `within` is where the event stands in the request. With `counts_since` it is imported (see `model.event.counts_on`),
    and `may_grow` says that a later import of the same call may have more usage. `spooled_since` is what `counts_since`
    would be, for events that say that they have waited in a spool.
    Raises ProblemError for one of which nothing can be kept.
    """
    try:
        return _commands(event, _Origin(within, counts_since, may_grow, spooled_since)), None
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


class _Origin(NamedTuple):
    """Where an event stands in the request, and what is known of one that is imported."""

    within: str
    counts_since: datetime | None
    may_grow: bool
    spooled_since: datetime | None


def _commands(event: Any, origin: _Origin) -> Commands:
    if not isinstance(event, dict):
        return [_record(EventBody.model_validate(event), event, origin)]
    within = origin.within
    kind = event.get("type", "llm_call")
    body = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if body is None:
        raise invalid_field(f"{within}.type", f"use one of {', '.join(_BY_TYPE)}")
    if kind == "llm_call" and "body" in event:
        if "usage" in event:
            raise invalid_field(f"{within}.usage", "give either usage or the provider's response as body, not both")
        whole, *others = events_of_response(ResponseBody.model_validate(event), within)
        # Another model that the provider called within the call has a key that only the ledger uses.
        return [
            _record(whole, _dumped(whole), origin),
            *(
                _record(each, _dumped(each), origin, Kind.OTHER_MODEL, commands.other_model_key_space(number))
                for number, each in enumerate(others, start=1)
            ),
        ]
    return [_record(body.__pydantic_validator__.validate_python(event), event, origin)]


def _dumped(body: EventBody) -> Mapping[str, Any]:
    dumped: Mapping[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
    return dumped


def _record(
    body: EventBody | ToolCallBody | CacheHitBody, said: Mapping[str, Any], origin: _Origin,
    kind: Kind | None = None, key_space: str = "",
) -> commands.Record:  # fmt: skip
    within, counts_since, may_grow, spooled_since = origin
    is_spooled = body.spooled and counts_since is None and spooled_since is not None
    check_user(body.run_id, body.user, body.cost_center, f"{within}.")
    failed, response_id, cost, tool_source, from_cache = False, None, None, None, False
    # The class itself is compared: `isinstance` takes ten times as long with classes of pydantic's.
    if type(body) is EventBody:
        failed, response_id = body.outcome == "error", body.response_id
    elif type(body) is ToolCallBody:
        failed, tool_source, from_cache = body.outcome == "error", body.tool_source, body.from_cache
        kind, cost = Kind.TOOL_CALL, _cost_of_tool(body, within)
    else:
        kind = Kind.CACHE_HIT
    # What every event has stands in its place: a keyword takes five times as long.
    return commands.Record(
        body.idempotency_key,
        fingerprint_of(body),
        body.source,
        body.agent_type,
        body.provider or "",
        body.model or "",
        Usage() if body.usage is None else _usage(body.usage, within),
        None if body.run_id is None else int(body.run_id),
        body.user,
        body.cost_center,
        body.request_type,
        body.occurred_at,
        failed,
        body.estimated,
        response_id,
        body.tool,
        service_tier_of(body.service_tier),
        tags_of(body.tags) if body.tags else (),
        kind,
        cost,
        details_of(body.measured, tool_source, from_cache=from_cache),
        spooled_since if is_spooled else counts_since,
        said,
        key_space=key_space,
        may_grow=may_grow,
        is_spooled=is_spooled,
    )


def _cost_of_tool(body: ToolCallBody, within: str) -> int | None:
    """Return what the caller says that a tool call cost, 0 without a model; None if that follows from its model."""
    given = [name for name in ("provider", "model", "usage") if getattr(body, name) is not None]
    if given and len(given) < len(("provider", "model", "usage")):
        detail = "a tool that used a model says which and how much of it: give provider, model and usage, or none"
        raise invalid_field(f"{within}.{given[0]}", detail)
    if body.cost is None:
        return None if given else 0
    return parse_money(body.cost)


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
