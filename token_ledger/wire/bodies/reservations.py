"""Bodies of reservations and leases: what a call may use, and what it did use."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from token_ledger.core.batch.commands import MOST_OTHER_MODELS
from token_ledger.core.model.usage import LARGEST_USE
from token_ledger.wire.bodies.measured import MeasuredField
from token_ledger.wire.fields import (
    Body,
    ClaimedInstant,
    ForeignId,
    Id,
    IdempotencyKey,
    Name,
    OptionalIdempotencyKey,
    Seconds,
    Tags,
    Tokens,
    Words,
    doc,
    like,
)  # fmt: skip
from token_ledger.wire.token_kinds import AN_USAGE, InputTokens, OtherKindName, UsageBody

AgentType = Annotated[Name, doc("Kind of agent that makes the call.", "data_agent")]
Provider = Annotated[Name, doc("Provider of the model.", "openai")]
Model = Annotated[Name, doc("Model of the call, by the provider's name for it.", "gpt-5.4")]
RunId = Annotated[Id | None, doc("The run that the call is part of. Without a run, give `user`.", "68288512")]
User = Annotated[
    Name | None,
    doc(
        "The user for whom the call is made; `Ada` and `ada` are two users. A run has its own user, so leave it out "
        "there.",
        "ada",
    ),
]
CostCenter = Annotated[
    Name | None,
    doc("Cost center that the call is charged to; by default the user's. Not allowed with `run_id`.", "research"),
]
RequestType = Annotated[Name, doc("Kind of request, for reports and selectors.", "chat")]
Tool = Annotated[Name | None, doc("The tool that the call serves, for reports and selectors.", "search")]
CallTags = Annotated[Tags, doc("Up to 8 tags, for selectors.", {"team": "core"})]
TtlSeconds = Annotated[Seconds, doc("Seconds until the hold expires, counted from now.", 300)]

ServiceTierName = Literal["standard", "flex", "priority", "batch", "fast"]
ServiceTier = Annotated[
    ServiceTierName, doc("How the provider served the call; the price may depend on it.", "standard")
]


A_CALL = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 1_200,
    "max_output_tokens": 500, "user": "ada",
}  # fmt: skip


class CallBody(Body):
    """A call that is to be made."""

    agent_type: AgentType
    provider: Provider
    model: Model
    input_tokens: InputTokens
    max_output_tokens: Annotated[Tokens, doc("The output limit that the call will be sent with, in tokens.", 500)]
    run_id: RunId = None
    user: User = None
    cost_center: CostCenter = None
    request_type: RequestType = "chat"
    cached_input_tokens: Annotated[
        Tokens, doc("How many of the input tokens are expected to be read from the provider's cache.", 1_024)
    ] = 0
    cache_write: Annotated[
        Literal["5m", "1h"] | None,
        doc(
            "Say so if the call writes its input to the provider's cache, for 5 minutes or 1 hour: the hold then uses "
            "the rate for cache writes.",
            "5m",
        ),
    ] = None
    tool: Tool = None
    requires: Annotated[
        tuple[Name, ...],
        Field(max_length=16),
        doc("Capabilities that another model must have to be allowed to stand in.", ["tools", "vision"]),
    ] = ()
    tags: CallTags = Field(default_factory=dict)
    max_usage: Annotated[
        dict[OtherKindName, Tokens],
        doc(
            "The most that the call may use of kinds that few calls have, by their names in `usage`: the hold has room "
            "for them. What has no price is named in the answer.",
            {"web_searches": 5},
        ),
    ] = Field(default_factory=dict)
    service_tier: Annotated[
        ServiceTierName, doc("How the provider will serve the call: the hold uses its rates.", "batch")
    ] = "standard"
    apply: Annotated[
        tuple[Literal["model_downgrade", "aggressive_compression"], ...],
        doc("Techniques that triggers may apply to this call. Without one they only advise.", ["model_downgrade"]),
    ] = ()


A_RESERVATION = {"idempotency_key": "call-1", **A_CALL}


class ReservationBody(CallBody):
    """Reserve what a call may use."""

    model_config = like(A_RESERVATION)

    idempotency_key: IdempotencyKey
    ttl_seconds: TtlSeconds = 300


class LeaseBody(ReservationBody):
    """Open a lease: one hold for many calls of this size, which the client then admits by itself."""

    model_config = like({**A_RESERVATION, "idempotency_key": "lease-1", "calls": 50})

    calls: Annotated[StrictInt, Field(ge=1, le=100_000), doc("For how many calls to hold room. You may get fewer.", 50)]


class ExtensionBody(Body):
    """Extend a hold. A hold never expires earlier than it did before."""

    idempotency_key: IdempotencyKey
    ttl_seconds: TtlSeconds


class ForceReleaseBody(Body):
    """End a hold whose client is believed dead."""

    idempotency_key: IdempotencyKey
    reason: Annotated[Words, doc("Why the hold is ended; the hold and the audit log keep it.", "worker 7 was killed")]


Usage = Annotated[UsageBody, doc("What the call used.", AN_USAGE)]
OccurredAt = Annotated[ClaimedInstant | None, doc("When the call ended; by default, now.", "2026-11-21T09:30:00Z")]
CallOutcome = Annotated[Literal["ok", "error"], doc("Whether the provider answered the call.", "ok")]
Estimated = Annotated[StrictBool, doc("True if the usage is an estimate, because the provider reported none.", False)]
ResponseId = Annotated[
    ForeignId | None,
    doc(
        "The provider's id of the response. The same response with the same usage is one call, whoever reports it and "
        "under which key: the second report books nothing.",
        "resp_68af0c1e",
    ),
]


class OtherModelBody(Body):
    """What another model used within a call."""

    provider: Annotated[Name | None, doc("Its provider, if not that of the call.", "anthropic")] = None
    model: Annotated[Name, doc("The other model, by the provider's name for it.", "claude-opus-4-8")]
    usage: Usage
    service_tier: ServiceTier = "standard"


AN_OTHER_MODEL = {"model": "claude-opus-4-8", "usage": {"input_tokens": 2_518, "output_tokens": 22}}


class SettlementBody(Body):
    """Settle a hold with what its call used. Whatever the limit, usage is booked."""

    usage: Usage
    idempotency_key: OptionalIdempotencyKey = None
    provider: Annotated[Name | None, doc("Provider that answered, if not the one reserved for.", "openai")] = None
    model: Annotated[Name | None, doc("Model that answered, if not the one reserved for.", "gpt-5.4-mini")] = None
    occurred_at: OccurredAt = None
    outcome: CallOutcome = "ok"
    estimated: Estimated = False
    response_id: ResponseId = None
    original_input_tokens: Annotated[
        Annotated[StrictInt, Field(ge=0, le=LARGEST_USE)] | None,
        doc("Tokens of the prompt before it was compressed, if it was.", 2_400),
    ] = None
    part: Annotated[
        StrictBool,
        doc(
            "True if this is one call of a lease or one piece of a stream: it is booked and the rest stays on hold. "
            "Needs an `idempotency_key`.",
            False,
        ),
    ] = False
    tool: Tool = None
    service_tier: ServiceTier = "standard"
    other_models: Annotated[
        tuple[OtherModelBody, ...],
        Field(max_length=MOST_OTHER_MODELS),
        doc(
            "Other models that the provider called within this call and charges besides, such as an advisor; `usage` "
            "has nothing of theirs. Each is booked with the call, as an event of its own that counts no call.",
            [AN_OTHER_MODEL],
        ),
    ] = ()
    measured: MeasuredField = None


class ReleaseBody(Body):
    """Release a hold whose call was not made."""

    idempotency_key: OptionalIdempotencyKey = None
    reason: Annotated[
        Words | None, doc("Why nothing is to be paid; the hold keeps it as `end_reason`.", "the provider answered 429")
    ] = None
