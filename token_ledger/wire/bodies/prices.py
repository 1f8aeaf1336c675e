"""Bodies of the price book: prices of a tenant's own, discounts, and aliases."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import Rates
from token_ledger.wire.bodies.model_names import ModelNameBody
from token_ledger.wire.fields import LARGEST_TOKENS, Body, IdempotencyKey, Instant, Name, doc, like

LARGEST_RATE = 1_000_000
_RATES = {"base": {"input": "2", "output": "8", "cache_read": "0.2"}}
_PARTS = ", ".join(f"`{kind}`" for kind in Rates._fields if kind not in ("input", "output"))
_ONE = {"provider": "azure", "model": "gpt-5.4"}


def _is_rate(text: str) -> str:
    rate = Decimal(text)
    rate_attos(rate)
    if rate > LARGEST_RATE:
        raise ValueError(f"{text!r} is too large; a rate is at most {LARGEST_RATE:,} dollars")
    return format(rate.normalize(), "f")


Rate = Annotated[
    StrictStr, Field(max_length=30, pattern=r"^[0-9]+(\.[0-9]+)?$"), AfterValidator(_is_rate)
]  # fmt: skip
"""Dollars, for a million tokens or as many as the kind says; text that says the same has one spelling."""
KindRates = Annotated[dict[StrictStr, Rate], Field(max_length=64)]


class PriceTierBody(Body):
    """Rates of all calls whose whole input is above a number of tokens, or of the input above it."""

    above: Annotated[
        StrictInt, Field(ge=1, le=LARGEST_TOKENS), doc("For calls with more input tokens than this.", 272_000)
    ]
    rates: Annotated[
        KindRates,
        doc(
            "Every rate, in dollars per million tokens; of a marginal tier those of input only.",
            {"input": "4", "output": "12"},
        ),
    ]


class ScheduleBody(Body):
    """Rates in dollars per million tokens, per thousand of what is counted, and per hour of audio.

    Tokens that every call may have, such as cached ones, cost what their whole costs if they have no rate; other kinds
    without one have no price.
    """

    base: Annotated[
        KindRates,
        doc(
            f"Rates by kind: `input` and `output`, and where they differ {_PARTS}; other kinds by their names in"
            " `usage` without `_tokens`, such as `audio_input` and `web_searches`. Write 0 for what is free.",
            _RATES["base"],
        ),
    ]
    tiers: Annotated[
        tuple[PriceTierBody, ...],
        Field(max_length=16),
        doc("Other rates for calls with much input, ascending.", [{"above": 272_000, "rates": _RATES["base"]}]),
    ] = ()
    tier_mode: Annotated[
        Literal["cliff", "marginal"],
        doc(
            "`cliff`: a tier is for the whole call once its input passes `above`. `marginal`: it is for the input"
            " tokens beyond `above` only; those before them, and all output, cost what they cost without it.",
            "cliff",
        ),
    ] = "cliff"


def _as_listed(schedule: object) -> object:
    """Take the only schedule out of a list, in which `GET /v1/prices` shows it; those of the book have dates."""
    if not isinstance(schedule, list):
        return schedule
    if len(schedule) != 1 or (isinstance(schedule[0], dict) and "valid_from" in schedule[0]):
        raise ValueError(
            "a price of the tenant's own has one schedule for each way of serving, without a date; the date is that of"
            " the price, `valid_from` beside `rates`"
        )
    return schedule[0]


class RatesBody(ScheduleBody):
    """What a model costs, also where the provider serves calls in other ways than the standard one."""

    service_tiers: Annotated[
        dict[Literal["flex", "priority", "batch", "fast"], Annotated[ScheduleBody, BeforeValidator(_as_listed)]],
        doc(
            "Rates of ways of serving a call, complete; as a list of one they are taken, too.",
            {"batch": {"base": {"input": "1", "output": "4"}}},
        ),
    ] = Field(default_factory=dict)


class PriceTerms(Body):
    """What a model costs from an instant on."""

    rates: Annotated[
        RatesBody | None, doc("Null withdraws the tenant's price: what the global price book says counts.", _RATES)
    ]
    valid_from: Annotated[
        Instant | None, doc("From when on; without it, from now on.", "2027-01-01T00:00:00Z")
    ] = None  # fmt: skip


class NamedPriceTerms(PriceTerms, ModelNameBody):
    """What a model, or the models of a pattern, cost from an instant on."""


class PriceBody(PriceTerms):
    """Let a model have a price of the tenant's own."""

    model_config = like({"idempotency_key": "price-1", "rates": _RATES, "valid_from": "2027-01-01T00:00:00Z"})

    idempotency_key: IdempotencyKey


class DiscountTerms(Body):
    """What the tenant pays of published prices, from an instant on and perhaps until another."""

    factor: Annotated[
        Annotated[StrictStr, Field(max_length=30, pattern=r"^[0-9]+(\.[0-9]+)?$")] | None,
        doc(
            "What is paid of every rate: 0.85 for 15 % off. Null withdraws the discounts of this name that began"
            " before.",
            "0.85",
        ),
    ]
    valid_from: Annotated[
        Instant | None, doc("From when on; without it, from now on.", "2027-01-01T00:00:00Z")
    ] = None  # fmt: skip
    valid_until: Annotated[
        Instant | None, doc("Until when; without it, until it is withdrawn.", "2028-01-01T00:00:00Z")
    ] = None  # fmt: skip


class NamedDiscountTerms(DiscountTerms, ModelNameBody):
    """What the tenant pays of the published prices of a model, or of the models of a pattern."""


class DiscountBody(DiscountTerms):
    """Let the tenant pay less, or more, than is published."""

    model_config = like({"idempotency_key": "discount-1", "factor": "0.85", "valid_until": "2028-01-01T00:00:00Z"})

    idempotency_key: IdempotencyKey


class AliasTerms(Body):
    """What a name stands for."""

    stands_for: Annotated[
        ModelNameBody | None, doc("A model that has a price, by any of its names; null ends the alias.", _ONE)
    ]


class NamedAliasTerms(AliasTerms, ModelNameBody):
    """What a name, or all names of a pattern, stand for."""


class AliasBody(AliasTerms):
    """Let a name of a model stand for a model that has a price."""

    model_config = like({"idempotency_key": "alias-1", "stands_for": _ONE})

    idempotency_key: IdempotencyKey


def _is_day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


class ModelTerms(Body):
    """What is known of a model; what is left out, or null, is what is published, if that is known."""

    context_tokens: Annotated[
        Annotated[StrictInt, Field(ge=1, le=LARGEST_TOKENS)] | None, doc("Longest context, in tokens.", 400_000)
    ] = None
    max_output_tokens: Annotated[
        Annotated[StrictInt, Field(ge=1, le=LARGEST_TOKENS)] | None,
        doc("The most that it answers, in tokens.", 128_000),
    ] = None
    capabilities: Annotated[
        Annotated[tuple[Name, ...], Field(max_length=32)] | None,
        doc("What it can do, in the words that `requires` of a call uses.", ["tools", "vision"]),
    ] = None
    deprecated: Annotated[StrictBool | None, doc("Whether its end of life is announced.", True)] = None
    end_of_life: Annotated[
        Annotated[StrictStr, Field(pattern=r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_is_day)] | None,
        Field(json_schema_extra={"format": "date"}),
        doc("The day after which its provider no longer serves it.", "2027-03-01"),
    ] = None


class NamedModelTerms(ModelTerms, ModelNameBody):
    """What is known of one model."""


class ModelBody(ModelTerms):
    """Say what is known of a model beside its price."""

    model_config = like({"idempotency_key": "model-1", "max_output_tokens": 128_000, "end_of_life": "2027-03-01"})

    idempotency_key: IdempotencyKey
