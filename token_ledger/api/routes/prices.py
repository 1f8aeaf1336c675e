"""Routes of the price book: entries, models with what they cost now, and aliases."""

from bisect import bisect_right
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response

from token_ledger.api.access import Admin, Reader, actor_of
from token_ledger.api.etags import unchanged
from token_ledger.api.parameters import ModelPath, PageSize, ProviderPath
from token_ledger.api.service import decide, reading, service_of
from token_ledger.core.batch.outcomes import Changed
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.model_facts import KnownModels
from token_ledger.storage.reads.prices import PriceListing, find_aliases, find_discounts
from token_ledger.storage.reads.prices import list_prices as read_prices
from token_ledger.storage.reads.recostings import count_recostable
from token_ledger.wire.answers import prices as answers
from token_ledger.wire.answers.audit import ChangeAnswer, change_answer
from token_ledger.wire.answers.recostings import PriceChangeAnswer, price_change_answer
from token_ledger.wire.bodies.prices import AliasBody, DiscountBody, ModelBody, PriceBody
from token_ledger.wire.commands.prices import (
    set_alias_command,
    set_discount_command,
    set_model_command,
    set_price_command,
)
from token_ledger.wire.fields import Instant, Name
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["prices"])

Provider = Annotated[Name | None, Query(description="Of this provider, by any of its names.", examples=["openai"])]
Model = Annotated[
    Name | None,
    Query(description="Of this model; with its provider, by any of its names.", examples=["gpt-5.4"]),
]  # fmt: skip
AfterEntry = Annotated[
    str | None, Query(description="Continue where another page ended: its `next`.", max_length=500, examples=["412"])
]
Listed = TypeVar("Listed")


@router.get("/prices", response_model=answers.PriceList)
async def list_prices(
    request: Request,
    response: Response,
    reader: Reader,
    provider: Provider = None,
    model: Model = None,
    at: Annotated[
        Instant | None,
        Query(description="Only what is in force at this instant.", examples=["2026-11-21T09:30:00Z"]),
    ] = None,
    after: AfterEntry = None,
    limit: PageSize = 200,
) -> answers.PriceList | Response:
    """List entries of the price book.

    Those of the tenant's own and those of the global book, by name of the model, older ones first. `in_force` says
    which of them calls are priced by at `at`, or now. The answer has an `ETag`.
    """
    found = await _find(request, reader.tenant, at, provider, model)
    wanted = [each for each in found.entries if at is None or found.is_in_force(each)]
    names = [str(each.price_id) for each in wanted]
    if after is not None and after not in names:
        raise invalid_field("after", "there is no such entry on this list; give the `next` of another page")
    page, following = _page(wanted, names, 0 if after is None else names.index(after) + 1, limit)
    shown = [answers.price_answer(each) for each in found.shown(page)]
    answer: answers.PriceList = {"prices": shown, "next": following}
    return unchanged(request, response, answer) or answer


@router.get("/models", response_model=answers.ModelList)
async def list_models(
    request: Request,
    response: Response,
    reader: Reader,
    provider: Provider = None,
    model: Model = None,
    after: AfterEntry = None,
    limit: PageSize = 200,
) -> answers.ModelList | Response:
    """List models that have a price, with what they cost now, their limits, what they can do, and when they end.

    A price of the tenant's own stands in place of that of the global book, and so does what the tenant says of a model
    in place of what is published. What nobody says is null. The answer has an `ETag`.
    """
    found = await _find(request, reader.tenant, None, provider, model)
    entries = found.entries
    # The tenant's entry is the last of its model.
    models = {
        (each.provider, each.model.casefold()): each for each in entries if each.rates and found.is_in_force(each)
    }
    known = KnownModels(entries, found.terms)
    provider_after, _, model_after = (after or "").partition("/")
    start = bisect_right([*models], (provider_after, model_after))
    page, following = _page([*models.values()], ["/".join(name) for name in models], start, limit)
    answer: answers.ModelList = {
        "models": [
            answers.model_answer(each, known.of(each.provider, each.model), factor=found.factor_of(each))
            for each in found.shown(page)
        ],
        "next": following,
    }
    return unchanged(request, response, answer) or answer


@router.put("/prices/{provider}/{model:path}")
async def set_price(
    request: Request, admin: Admin, provider: ProviderPath, model: ModelPath, body: PriceBody
) -> PriceChangeAnswer:
    """Set a price of the tenant's own.

    It counts in place of the global book's from `valid_from` on, for calls that are reserved from then on, in every
    process. A model with `*` is a pattern: `ollama/*` with rates of 0 makes all local models free. `*/*` is a stand-in:
    models without a price are held at it and flagged `unpriced`, and not refused. Setting what is set already changes
    nothing. What was booked keeps its cost; `recostable` says how many calls without a price could be re-costed.
    """
    command = set_price_command(ModelName(provider, model), body, actor_of(admin))
    changed = await decide(request, admin.tenant, Changed, command)
    return price_change_answer(changed, await _recostable(request, admin.tenant, ModelName(provider, model)))


@router.put("/models/{provider}/{model:path}")
async def set_model(
    request: Request, admin: Admin, provider: ProviderPath, model: ModelPath, body: ModelBody
) -> ChangeAnswer:
    """Describe a model: limits, capabilities, end of life.

    Its limits, what it can do, the end of its life: for the tenant, in place of what is published, all of it at once.
    What is left out counts as published; leaving out all takes back what was said. It changes no call: one of a model
    whose life has ended is not refused. The model must have a price; any of its names will do, and a pattern that has
    one is listed as it is.
    """
    command = set_model_command(ModelName(provider, model), body, actor_of(admin))
    return change_answer(await decide(request, admin.tenant, Changed, command))


@router.get("/discounts", response_model=answers.DiscountList)
async def list_discounts(request: Request, response: Response, reader: Reader) -> answers.DiscountList | Response:
    """List discounts.

    What the tenant pays of published prices, and has paid. The answer has an `ETag`.
    """
    async with reading(request, reader.tenant) as connection:
        found = await find_discounts(connection, reader.tenant, datetime.now(UTC))
    answer: answers.DiscountList = {
        "discounts": [answers.discount_answer(each, in_force=in_force) for each, in_force in found]
    }
    return unchanged(request, response, answer) or answer


@router.put("/discounts/{provider}/{model:path}")
async def set_discount(
    request: Request, admin: Admin, provider: ProviderPath, model: ModelPath, body: DiscountBody
) -> ChangeAnswer:
    """Set a discount off published prices.

    For a model, a pattern such as `gpt-5*`, all models of a provider (`*`), or all (`*/*`): of those in force the one
    with the most exact name counts, alone. It counts for calls that are reserved from then on, in every process. Prices
    of the tenant's own stay as they are. Events keep both costs. Setting what is set already changes nothing.
    """
    command = set_discount_command(ModelName(provider, model), body, actor_of(admin))
    return change_answer(await decide(request, admin.tenant, Changed, command))


@router.get("/aliases", response_model=answers.AliasList)
async def list_aliases(request: Request, response: Response, reader: Reader) -> answers.AliasList | Response:
    """List aliases.

    What names of models the tenant has said to stand for. The answer has an `ETag`.
    """
    async with reading(request, reader.tenant) as connection:
        found = await find_aliases(connection, reader.tenant)
    answer: answers.AliasList = {"aliases": [answers.alias_answer(each) for each in found]}
    return unchanged(request, response, answer) or answer


@router.put("/aliases/{provider}/{model:path}")
async def set_alias(
    request: Request, admin: Admin, provider: ProviderPath, model: ModelPath, body: AliasBody
) -> PriceChangeAnswer:
    """Set an alias of a model.

    For names of one's own: deployments, fine-tunes, proxies. A model with `*` is a pattern. Calls under the name cost
    what that model costs, from the next call on; `recostable` says how many without a price could be re-costed. A name
    that is in the books already keeps its name there.
    """
    command = set_alias_command(ModelName(provider, model), body, actor_of(admin))
    changed = await decide(request, admin.tenant, Changed, command)
    return price_change_answer(changed, await _recostable(request, admin.tenant, ModelName(provider, model)))


async def _recostable(request: Request, tenant: TenantId, name: ModelName) -> int:
    """Return how many of the newest calls without a price have one by now, under a name that was just priced."""
    async with reading(request, tenant) as connection:
        return await count_recostable(connection, tenant, await service_of(request).prices_of(connection, tenant), name)


async def _find(
    request: Request, tenant: TenantId, at: datetime | None, provider: str | None, model: str | None
) -> PriceListing:
    async with reading(request, tenant) as connection:
        book = await service_of(request).prices_of(connection, tenant)
        return await read_prices(connection, tenant, book, at or datetime.now(UTC), provider=provider, model=model)


def _page(found: list[Listed], names: list[str], start: int, limit: int) -> tuple[list[Listed], str | None]:
    """Return the page from a place on, and the name of its last item if more follow."""
    end = start + limit
    return found[start:end], names[end - 1] if end < len(found) else None
