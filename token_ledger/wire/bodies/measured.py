"""The body of what was measured of a call: how long it took, how often it was tried, how it ended."""

from typing import Annotated

from pydantic import Field, StrictInt, StrictStr
from pydantic.functional_validators import AfterValidator

from token_ledger.core.model.secrets import FOUND, has_secret
from token_ledger.wire.fields import Body, Name, doc, like

STAGES = (
    "credit_checked", "context_prepared", "agent_started", "first_tool", "first_chunk", "stream_complete",
)  # fmt: skip
"""The stages that most agents go through, in their order; callers may have others."""
MOST_STAGES = 32

_A_YEAR_OF_MILLISECONDS = 366 * 86_400_000
Milliseconds = Annotated[StrictInt, Field(ge=0, le=_A_YEAR_OF_MILLISECONDS)]


def _is_label(text: str) -> str:
    if has_secret(text):
        raise ValueError(FOUND)
    return text


Label = Annotated[
    StrictStr, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(_is_label)
]  # fmt: skip
"""A word of another system, such as an error class: too short for a prompt."""

A_MEASUREMENT = {
    "latency_ms": 2_140, "first_token_ms": 380, "stages": {"agent_started": 12, "first_chunk": 380}, "retries": 1,
    "finish_reason": "stop",
}  # fmt: skip


class MeasuredBody(Body):
    """What was measured of a call. Milliseconds are whole numbers and count from the start of the call."""

    model_config = like(A_MEASUREMENT)

    latency_ms: Annotated[Milliseconds | None, doc("How long the call took.", 2_140)] = None
    first_token_ms: Annotated[Milliseconds | None, doc("When the first token of the answer came.", 380)] = None
    stages: Annotated[
        dict[Name, Milliseconds],
        Field(max_length=MOST_STAGES),
        doc(
            f"When each stage was reached: {', '.join(f'`{stage}`' for stage in STAGES)}, or your own.",
            {"agent_started": 12, "first_chunk": 380},
        ),
    ] = Field(default_factory=dict)
    retries: Annotated[
        Annotated[StrictInt, Field(ge=0, le=10_000)] | None, doc("How often the call was tried again.", 1)
    ] = None
    error_kind: Annotated[Label | None, doc("What kind of error it ended with, if it did.", "rate_limit")] = None
    finish_reason: Annotated[Label | None, doc("Why the provider ended the answer.", "stop")] = None
    estimate_rule: Annotated[
        Label | None, doc("How an `estimated` usage was found.", "input counted, output limit")
    ] = None


MeasuredField = Annotated[MeasuredBody | None, doc("What was measured of the call.", A_MEASUREMENT)]
