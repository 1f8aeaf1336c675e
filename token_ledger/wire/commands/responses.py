"""Reads providers' responses and streams: what was used, by which model, and nothing of what was said."""

from collections.abc import Iterator
from typing import Any, cast

from token_ledger_sdk.providers import STANDARD, Reading, UsageMissing, reading_of_recorded, served_model

from token_ledger.core.batch.commands import MOST_OTHER_MODELS
from token_ledger.core.model.name import clean_name
from token_ledger.wire.bodies.events import MOST_CHUNKS, EventBody, ResponseBody
from token_ledger.wire.bodies.measured import MeasuredBody
from token_ledger.wire.problems import invalid_field
from token_ledger.wire.token_kinds import UsageBody

_SAME = (
    "source", "idempotency_key", "agent_type", "provider", "run_id", "user", "cost_center", "request_type",
    "occurred_at", "outcome", "estimated", "tool", "tags",
)  # fmt: skip


def events_of_response(body: ResponseBody, within: str) -> Iterator[EventBody]:
    """Yield the call of a provider's response, then those of other models that the provider called within it.

    `within` is where the event stands in the request. Raises ProblemError if the response does not say what was used.
    """
    try:
        reading = reading_of_recorded(body.body, most_chunks=MOST_CHUNKS)
    except UsageMissing as error:
        raise invalid_field(f"{within}.body", f"{error}; or send usage instead") from None
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        raise invalid_field(f"{within}.body", "this response can't be read; send usage instead") from None
    if len(reading.others) > MOST_OTHER_MODELS:
        detail = f"it used {len(reading.others)} other models; send an event with usage for each"
        raise invalid_field(f"{within}.body", detail)
    model = _model_of(body, reading, within)
    yield _event(body, reading, model, reading.response_id, body.measured)
    for other in reading.others:
        called = model if other.model is None else _name(other.model, within)
        yield _event(body, other, called, reading.response_id, None)


def _model_of(body: ResponseBody, reading: Reading, within: str) -> str:
    if body.model is not None:
        served = served_model(body.provider, body.model, reading)
        return body.model if served is None else _name(served, within)
    if reading.model is None:
        raise invalid_field(f"{within}.model", "the response does not name its model; say which one was called")
    return _name(reading.model, within)


def _name(model: str, within: str) -> str:
    try:
        return clean_name(model)
    except ValueError as error:
        raise invalid_field(f"{within}.body", f"its model has no usable name: {error}; send model") from None


def _event(
    body: ResponseBody, reading: Reading, model: str, response_id: str | None, measured: MeasuredBody | None
) -> EventBody:
    said = {name: getattr(body, name) for name in _SAME if name in body.model_fields_set}
    tier = reading.service_tier
    if tier == STANDARD and body.service_tier is not None:
        tier = body.service_tier
    return EventBody.model_construct(
        **said,
        model=model,
        usage=UsageBody(**reading.usage.to_json()),
        response_id=response_id,
        service_tier=cast(Any, tier),  # the SDK knows the same tiers
        measured=measured,
    )
