"""Answers about the price book: entries, models with what they cost now, discounts and aliases."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from token_ledger.core.model.discount import Discount, factor_text
from token_ledger.core.model.model_facts import ModelFacts
from token_ledger.core.model.price_terms import Alias
from token_ledger.storage.reads.prices import OWN, StoredPrice
from token_ledger.wire.answers.reservations import ModelNameAnswer
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_instant

_RATES = {"base": {"input": "2.5", "output": "15", "cache_read": "0.25"}}
_RATES_TEXT = (
    "Dollars per million tokens, by kind: `base`, and `tiers` that replace it for calls with more input tokens than"
    " `above`, or where `tier_mode` is `marginal`, for the input beyond `above`. A kind without a rate costs what the"
    " kind costs that it is a part of."
)


@answer
class PriceAnswer(TypedDict):
    """A dated entry of the price book."""

    price_id: Annotated[str, doc("The entry; those of the tenant's own are below 0.", "412")]
    provider: Annotated[str, doc("Provider.", "openai")]
    model: Annotated[str, doc("Model, or a pattern of names.", "gpt-5.4")]
    rates: Annotated[Any, doc(f"{_RATES_TEXT} Null withdraws the tenant's entries before it.", _RATES)]
    valid_from: Annotated[InstantText | None, doc("From when on; null: always.", None)]
    daily_from: Annotated[str | None, doc("Start of the hours of a day that it is for, in UTC; null: all day.", None)]
    daily_until: Annotated[str | None, doc("End of these hours.", None)]
    context_tokens: Annotated[int | None, doc("Longest context of the model, where it is known.", 1_050_000)]
    source: Annotated[str, doc("Where it is from: `tenant`, or the release of the price data.", "genai-prices 0.2.3")]
    own: Annotated[bool, doc("True if the tenant has set it.", False)]
    in_force: Annotated[bool, doc("True if calls at the instant that was asked about are priced by it.", True)]


@answer
class PriceList(TypedDict):
    """Entries of the price book."""

    prices: Annotated[list[PriceAnswer], doc("Entries, by name of the model.", [example_of(PriceAnswer)])]
    next: Annotated[str | None, doc("What to give as `after` for the next page; null at the end.", None)]


@answer
class ModelAnswer(TypedDict):
    """A model with what it costs now."""

    provider: Annotated[str, doc("Provider.", "openai")]
    model: Annotated[str, doc("Model, or a pattern of names that have one price.", "gpt-5.4")]
    price_id: Annotated[str, doc("The entry of the price book that calls are priced by now.", "412")]
    rates: Annotated[Any, doc(_RATES_TEXT, _RATES)]
    own: Annotated[bool, doc("True if the price is the tenant's own.", False)]
    factor: Annotated[str, doc("What the tenant pays of these rates: 1 without a discount.", "0.85")]
    context_tokens: Annotated[int | None, doc("Longest context, where it is known.", 1_050_000)]
    max_output_tokens: Annotated[int | None, doc("The most that it answers, where it is known.", 128_000)]
    capabilities: Annotated[list[str] | None, doc("What it can do, where it is known.", ["tools", "vision"])]
    deprecated: Annotated[
        bool | None, doc("True if its end of life is announced; null where nobody says so or not.", False)
    ]
    end_of_life: Annotated[
        str | None,
        Field(json_schema_extra={"format": "date"}),
        doc("The day after which its provider no longer serves it, where it is known.", "2027-03-01"),
    ]


@answer
class ModelList(TypedDict):
    """Models."""

    models: Annotated[list[ModelAnswer], doc("Models that have a price, by name.", [example_of(ModelAnswer)])]
    next: Annotated[str | None, doc("What to give as `after` for the next page; null at the end.", None)]


@answer
class DiscountAnswer(TypedDict):
    """What a tenant pays of published prices."""

    discount_id: Annotated[str, doc("The discount.", "68878337")]
    provider: Annotated[str, doc("Provider, or `*` for all.", "openai")]
    model: Annotated[str, doc("Model, or a pattern of names.", "gpt-5*")]
    factor: Annotated[
        str | None, doc("What is paid of every rate; null: those of this name that began before are withdrawn.", "0.85")
    ]
    valid_from: Annotated[InstantText, doc("From when on.", "2027-01-01T00:00:00Z")]
    valid_until: Annotated[InstantText | None, doc("Until when; null: until it is withdrawn.", None)]
    in_force: Annotated[bool, doc("True if it is the one of its name that counts now.", True)]


@answer
class DiscountList(TypedDict):
    """Discounts."""

    discounts: Annotated[
        list[DiscountAnswer],
        doc(
            "Discounts of the tenant, by name, later ones first. For a model that with the most exact name counts"
            " alone.",
            [example_of(DiscountAnswer)],
        ),
    ]


@answer
class AliasAnswer(TypedDict):
    """What a name of a model stands for."""

    alias_id: Annotated[str, doc("The alias.", "68878337")]
    provider: Annotated[str, doc("Provider.", "azure")]
    model: Annotated[str, doc("Name, or a pattern of names.", "prod-chat")]
    stands_for: Annotated[ModelNameAnswer, doc("The model that it stands for.", example_of(ModelNameAnswer))]


@answer
class AliasList(TypedDict):
    """Aliases."""

    aliases: Annotated[list[AliasAnswer], doc("Aliases of the tenant, by name.", [example_of(AliasAnswer)])]


def price_answer(entry: StoredPrice) -> PriceAnswer:
    """Return an entry of the price book."""
    return {
        "price_id": str(entry.price_id),
        "provider": entry.provider,
        "model": entry.model,
        "rates": entry.rates,
        "valid_from": optional_instant(entry.valid_from),
        "daily_from": None if entry.daily_from is None else entry.daily_from.isoformat(),
        "daily_until": None if entry.daily_until is None else entry.daily_until.isoformat(),
        "context_tokens": entry.context_tokens,
        "source": entry.source,
        "own": entry.source == OWN,
        "in_force": entry.in_force,
    }


def model_answer(entry: StoredPrice, facts: ModelFacts, *, factor: int) -> ModelAnswer:
    """Return a model with the entry that it is priced by now."""
    return {
        "provider": entry.provider,
        "model": entry.model,
        "price_id": str(entry.price_id),
        "rates": entry.rates,
        "own": entry.source == OWN,
        "factor": factor_text(factor),
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "capabilities": None if facts.capabilities is None else list(facts.capabilities),
        "deprecated": facts.deprecated,
        "end_of_life": None if facts.end_of_life is None else facts.end_of_life.isoformat(),
    }


def discount_answer(discount: Discount, *, in_force: bool) -> DiscountAnswer:
    """Return what a tenant pays of published prices."""
    return {
        "discount_id": str(discount.discount_id),
        "provider": discount.provider,
        "model": discount.model,
        "factor": None if discount.factor is None else factor_text(discount.factor),
        "valid_from": instant(discount.valid_from),
        "valid_until": optional_instant(discount.valid_until),
        "in_force": in_force,
    }


def alias_answer(alias: Alias) -> AliasAnswer:
    """Return what a name stands for."""
    provider, model = alias.stands_for or ("", "")
    return {
        "alias_id": str(alias.alias_id),
        "provider": alias.provider,
        "model": alias.model,
        "stands_for": {"provider": provider, "model": model},
    }
