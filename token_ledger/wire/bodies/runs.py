"""Bodies of runs: opening, steps, allocations, changes, ending."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from token_ledger.wire.bodies.limits import LimitsBody
from token_ledger.wire.fields import (
    Body,
    Id,
    IdempotencyKey,
    LimitNumber,
    Name,
    OptionalIdempotencyKey,
    Tokens,
    Words,
    doc,
    like,
)

_SHARE = {"agent_type": "data_agent", "weight": 3, "minimum_tokens": 200}


class ShareBody(Body):
    """One agent type's share of a run's tokens."""

    agent_type: Annotated[Name, doc("Kind of agent that gets the share.", "data_agent")]
    weight: Annotated[
        StrictInt, Field(ge=1, le=1_000_000), doc("Size of the share, relative to the weights of the others.", 3)
    ]
    minimum_tokens: Annotated[Tokens, doc("The share has at least this many tokens.", 200)] = 0


class RunBody(Body):
    """Open a run or a sub-run. A sub-run has the user and cost center of its parent."""

    model_config = like(
        {"idempotency_key": "run-1", "user": "ada", "external_id": "chat-2041", "limits": {"tokens": 50_000}}
    )

    idempotency_key: IdempotencyKey
    user: Annotated[
        Name | None,
        doc("The user for whom the run works; `Ada` and `ada` are two users. Required without `parent_run_id`.", "ada"),
    ] = None
    cost_center: Annotated[
        Name | None, doc("Cost center that the run is charged to; by default the user's.", "research")
    ] = None
    external_id: Annotated[Words | None, doc("Your own id of the run.", "chat-2041")] = None
    limits: Annotated[LimitsBody, doc("Limits of the run itself.", {"tokens": 50_000, "cost": "2.50"})] = LimitsBody()
    iterations: Annotated[LimitNumber | None, doc("How many steps the run may take.", 20)] = None
    preset: Annotated[
        Literal["job", "open_end"] | None,
        doc(
            "Limits to begin with. `job`: 50,000 tokens, 20 iterations and a split over the usual agent types. "
            "`open_end`: none. What the body itself says takes precedence.",
            "job",
        ),
    ] = None
    allocation: Annotated[
        tuple[ShareBody, ...],
        Field(max_length=64),
        doc("How the run's tokens are split over agent types.", [_SHARE]),
    ] = ()
    strict: Annotated[
        StrictBool, doc("True refuses calls of agent types that have no share of the allocation.", False)
    ] = False
    parent_run_id: Annotated[Id | None, doc("The run that this one is part of; at most 8 levels.", "68288512")] = None
    attach: Annotated[
        StrictBool,
        doc("True returns the open run with the same `external_id`, if there is one, instead of a new one.", False),
    ] = False


class StepBody(Body):
    """Begin another iteration of a run."""

    idempotency_key: IdempotencyKey
    label: Annotated[Words | None, doc("What the iteration is for.", "plan")] = None


class RebalanceBody(Body):
    """Split what a run has available again."""

    idempotency_key: IdempotencyKey
    allocation: Annotated[
        tuple[ShareBody, ...],
        Field(min_length=1, max_length=64),
        doc("The new split. What a share has settled and held stays with it.", [_SHARE]),
    ]


class RunChangeBody(Body):
    """Change a run's limits. What is left out stays; null removes it."""

    idempotency_key: IdempotencyKey
    reason: Annotated[Words, doc("Why the limits change; it is kept in the audit log.", "the customer asked for more")]
    limits: Annotated[
        LimitsBody | None,
        doc(
            "New limits. A unit that is left out stays, null removes its limit; null for all removes them all.",
            {"tokens": 80_000},
        ),
    ] = None
    iterations: Annotated[LimitNumber | None, doc("New limit on iterations; null removes it.", 40)] = None


class RunEndBody(Body):
    """Close or cancel a run."""

    idempotency_key: OptionalIdempotencyKey = None
