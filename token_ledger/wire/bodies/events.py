"""Bodies of events: calls that had no hold."""

from typing import Annotated, Any

from pydantic import Field

from token_ledger.wire.bodies import reservations
from token_ledger.wire.fields import Body, IdempotencyKey, Words, doc, like
from token_ledger.wire.token_kinds import AN_USAGE

_EVENT = {
    "source": "nightly-import", "idempotency_key": "line-1", "user": "ada", "agent_type": "data_agent",
    "provider": "openai", "model": "gpt-5.4", "usage": AN_USAGE,
}  # fmt: skip


class EventBody(Body):
    """A call that had no hold."""

    model_config = like(_EVENT)

    source: Annotated[
        Words, doc("Where the event comes from. Idempotency keys are unique per source.", "nightly-import")
    ]
    idempotency_key: IdempotencyKey
    agent_type: reservations.AgentType
    provider: reservations.Provider
    model: reservations.Model
    usage: reservations.Usage
    run_id: reservations.RunId = None
    user: reservations.User = None
    cost_center: reservations.CostCenter = None
    request_type: reservations.RequestType = "chat"
    occurred_at: reservations.OccurredAt = None
    outcome: reservations.CallOutcome = "ok"
    estimated: reservations.Estimated = False
    response_id: reservations.ResponseId = None
    tool: reservations.Tool = None
    service_tier: reservations.ServiceTier = "standard"
    tags: reservations.CallTags = {}


class EventsBody(Body):
    """Book calls that had no hold. An event that is malformed fails alone."""

    # Events are parsed one by one, so that a bad one does not refuse the others.
    events: Annotated[
        tuple[Any, ...],
        Field(min_length=1, max_length=256, json_schema_extra={"items": {"$ref": "#/components/schemas/EventBody"}}),
        doc("Events to book, 1 to 256.", [_EVENT]),
    ]
