"""Owns the types of single fields on the wire, their limits, and how a field is described.

Money travels as a decimal string and an id as a string of digits, because both outgrow the numbers of JavaScript.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    with_config,
)  # fmt: skip

from token_ledger.core.model.money import parse_money
from token_ledger.core.model.name import MOST_CHARACTERS, clean_name
from token_ledger.core.model.secrets import FOUND, has_secret
from token_ledger.wire.validation_errors import message_of

# Control characters are refused. PostgreSQL cannot store NUL, and the others only hide in a list of names.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_PRINTABLE_OR_EMPTY = r"^[^\x00-\x1f\x7f]*$"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
LARGEST_TOKENS = 100_000_000
"""The most tokens that one call may have."""
LARGEST_LIMIT = 10**15
"""The largest limit in tokens, calls or iterations."""


def doc(description: str, *examples: Any) -> Any:
    """Return the description of a field for the OpenAPI document, with examples that a person would write."""
    return Field(description=description, examples=list(examples))


class Body(BaseModel):
    """A request body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def like(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a body with an example of the whole, where its fields exclude each other."""
    return ConfigDict(json_schema_extra={"examples": [example]})


def _fits_an_id(text: str) -> str:
    if int(text) >= 2**63:
        raise ValueError(f"{text} is larger than any id; ids are below 2^63")
    return text


def _is_written_out(value: object) -> object:
    # Without this check a number would be read as seconds or milliseconds, depending on its size.
    if not (isinstance(value, str) and _RFC_3339.match(value)):
        raise ValueError("write an instant as RFC 3339 does, such as 2026-11-21T09:30:00Z")
    return value


def _has_no_secret(text: str) -> str:
    if has_secret(text):
        raise ValueError(FOUND)
    return text


def _is_money(text: str) -> str:
    if parse_money(text) < 0:
        raise ValueError(f"{text!r} is negative; write an amount of 0 or more, such as 12.50")
    return text


def _each_once(given: Any, read: ValidatorFunctionWrapHandler) -> Any:
    # Names that differ as they were sent may be one name, and only the last of them would count.
    names = read(given)
    if len(names) != len(given):
        raise ValueError("two of these names are the same, apart from white space or how characters are composed")
    return names


Name = Annotated[
    StrictStr,
    AfterValidator(clean_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": MOST_CHARACTERS}),
]
"""What something is found by again: a user, a model, a budget. It has one spelling, whichever way it was sent."""
Names = WrapValidator(_each_once)
"""Marks a mapping whose keys are names."""
Words = Annotated[
    StrictStr, Field(min_length=1, max_length=200, pattern=_PRINTABLE), AfterValidator(_has_no_secret)
]  # fmt: skip
"""What is kept exactly as it was sent: a reason, a label, and keys and ids that other systems made."""
Place = Annotated[StrictStr, Field(min_length=1, max_length=500, pattern=_PRINTABLE)]
"""Where a list that was read in part goes on, as its `next` says."""
ForeignId = Annotated[StrictStr, Field(max_length=200, pattern=_PRINTABLE_OR_EMPTY), AfterValidator(_has_no_secret)]
"""An id that another system made, which may be empty: what it belongs to matters more."""
Id = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,19}$"), AfterValidator(_fits_an_id)]
Tokens = Annotated[StrictInt, Field(ge=0, le=LARGEST_TOKENS)]
UsedTokens = Annotated[StrictInt, Field(ge=0)]
"""What a call has used. No amount is refused here: what can't be booked is kept in quarantine, never lost."""
LimitNumber = Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)]
Seconds = Annotated[StrictInt, Field(ge=1, le=86_400)]
Money = Annotated[StrictStr, Field(max_length=30, pattern=r"^[0-9]+(\.[0-9]+)?$"), AfterValidator(_is_money)]
"""Dollars."""
Tags = Annotated[dict[Name, Name], Field(max_length=8), Names]

ClaimedInstant = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]
"""What a caller's clock says. No date is refused here: a call with a wrong one is booked or quarantined, never lost."""
Instant = Annotated[ClaimedInstant, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))]
"""An instant from 2000 to 2999, which every time zone and PostgreSQL can represent."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_instant_from = TypeAdapter(Instant).validate_python
_date_from = TypeAdapter(Annotated[date, Field(ge=date(2000, 1, 1), lt=date(3000, 1, 1))]).validate_python


def _instant_or_date(value: object) -> datetime | date:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return _date_from(value)
        return _instant_from(value)
    except ValidationError as error:
        advice = "write a date such as 2026-11-21, or an instant such as 2026-11-21T09:30:00Z"
        if isinstance(value, str) and " " in value:
            advice += " (in an address, + is written %2B)"
        raise ValueError(f"{message_of(error.errors()[0])}; {advice}") from None


InstantOrDate = Annotated[
    datetime | date,
    PlainValidator(_instant_or_date),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}),
]
"""An instant, or a date, which stands for the start of that day in the tenant's calendar."""

IdempotencyKey = Annotated[
    Words,
    doc(
        "Identifies the request. The same key with the same body returns the stored answer; with another body it is "
        "409 `idempotency_conflict`. Make it once per request and keep it when you retry.",
        "call-1",
    ),
]
OptionalIdempotencyKey = Annotated[
    Words | None,
    doc("Identifies the request. Needed only where several requests name the same thing in the path.", "call-1-part-2"),
]

answer = with_config(ConfigDict(extra="forbid"))
"""Marks the type of an answer: it has every field that the type names, and no other."""


def example_of(kind: type) -> dict[str, Any]:
    """Return an example of an answer, made of the examples of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: _example(hint) for name, hint in hints.items()}


def _example(hint: Any) -> Any:
    while get_origin(hint) is NotRequired:
        (hint,) = get_args(hint)
    return next(each.examples[0] for each in get_args(hint)[1:] if getattr(each, "examples", None))


InstantText = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""An instant in an answer, as RFC 3339 writes it."""


def instant(at: datetime) -> str:
    """Return an instant as answers write it."""
    return at.isoformat()


def optional_instant(at: datetime | None) -> str | None:
    """Return an instant as answers write it, None for none."""
    return None if at is None else at.isoformat()


def optional_id(number: int | None) -> str | None:
    """Return an id as answers write it, None for none."""
    return None if number is None else str(number)


Replayed = Annotated[
    bool, doc("True if the key was used before: this is the stored answer, with today's state.", False)
]
