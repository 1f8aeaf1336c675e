"""Our costs compared with those of genai-prices for real models: equal up to the rounding of each token kind."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelPrice, StartDateConstraint
from genai_prices.types import Usage as PublishedUsage

from token_ledger.core.model.charge import charge, token_cost_nanos
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of, rate_name
from token_ledger.core.model.price import SERVICE_TIERS, STANDARD, Price, PriceBook
from token_ledger.core.model.usage import Usage, usage_from
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.published_prices import PUBLISHED, PUBLISHED_OTHERS, PUBLISHED_TIERS
from token_ledger.storage.untaken_prices import find_untaken

PROVIDERS = ("anthropic", "openai", "google", "deepseek", "perplexity", "x-ai")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HALF_A_NANO = Decimal("0.5e-9")


async def test_costs_are_those_of_the_publisher(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as connection:
        prices = await load_price_book(connection)
    await database.close()
    compared = sum(
        compare(prices, provider, model) for provider in get_snapshot().providers for model in provider.models
    )
    assert compared > 1_000


async def test_costs_of_other_kinds_and_service_tiers_are_those_of_the_publisher(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as connection:
        prices = await load_price_book(connection)
    await database.close()
    compared: Counter[str] = Counter()
    for provider in get_snapshot().providers:
        for model in provider.models:
            found = prices.find(provider.id, model.id)
            price = None if found is None else found.at(NOW)
            published = model.get_prices(NOW)
            if price is None:
                assert not _rates(published), "every model with a published rate is in the price book"
                continue
            compared.update(compare_others(price, None, published, NOW))
            assert found is not None
            for condition, tier in PUBLISHED_TIERS.items():
                variants = [variant for variant in model.price_variants or () if variant.when == dict([condition])]
                for at in (NOW, NOW - timedelta(days=10), NOW - timedelta(days=30)):
                    if any(variant.constraint is None or variant.constraint.active(at) for variant in variants):
                        rates = model.get_prices(at, dict([condition]))
                        compared.update(compare_others(found.at(at), tier, rates, at))
    named = {PUBLISHED_OTHERS[rate_name(kind)][0] for kind in OTHER_KINDS if kind != "images"}
    assert {rate for rate in compared if rate in named} == named, "every kind is published for some model"
    assert {tier for tier in compared if tier in SERVICE_TIERS} == {*SERVICE_TIERS} - {STANDARD}


async def test_every_published_way_of_serving_is_taken_over_or_listed_as_not(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as connection:
        prices = await load_price_book(connection)
    await database.close()
    untaken = {(each.provider, each.model): each.why for each in find_untaken()}
    listed, compared = set(), Counter[str]()
    for provider in get_snapshot().providers:
        for model in provider.models:
            found = prices.find(provider.id, model.id)
            for when in (variant.when for variant in model.price_variants or ()):
                [(name, value)] = when.items()
                if f"{name} {value}" in untaken.get((provider.id, model.id), ""):
                    listed.add(f"{name} {value}")
                    continue
                assert found is not None
                tier = value if value in SERVICE_TIERS else None
                compare_others(found.at(NOW), tier, model.get_prices(NOW, when), NOW)
                compared[value] += 1
    assert listed == {"route mistral/eu", "search_type fast"}
    assert compared.keys() == {"batch", "default", "fast", "flex", "priority", "web"}


AS_PUBLISHED = {
    "audio_cache_read_tokens": "cache_audio_read_tokens", "image_cache_read_tokens": "cache_image_read_tokens",
    "audio_input_tokens": "input_audio_tokens", "image_input_tokens": "input_image_tokens",
    "video_input_tokens": "input_video_tokens", "audio_output_tokens": "output_audio_tokens",
    "image_output_tokens": "output_image_tokens", "video_output_tokens": "output_video_tokens",
    "citation_tokens": "output_citation_tokens", "web_searches": "web_searches", "file_searches": "storage_searches",
    "pages": "input_document_pages", "annotated_pages": "input_annotated_document_pages",
    "characters": "input_characters", "messages": "input_text_messages", "audio_seconds": "input_audio_seconds",
}  # fmt: skip
MANY = Usage(
    100_000, 50_000, 20_000, 0, 0, 5_000,
    others=others_of({name: 1_001 + 100 * place for place, name in enumerate(OTHER_KINDS) if name != "requests"}),
)  # fmt: skip


def compare_others(price: Price | None, tier: str | None, published: ModelPrice, at: datetime) -> Counter[str]:
    """Compare a call that uses everything the publisher has a rate for; return what was compared."""
    rates = _rates(published)
    kinds = [kind for kind in AS_PUBLISHED if PUBLISHED_OTHERS[rate_name(kind)][0] in rates]
    kinds += ["audio_seconds"] if "audio_hours" in rates and "audio_seconds" not in kinds else []
    # Parts of the cache are priced where their wholes are, and tokens of no kind with a rate are not sent.
    said = {kind: count for kind, count in MANY.others if kind in kinds}
    usage = Usage(*MANY.counts, others=others_of(said)) if rates & TOKENS else usage_from(said)
    theirs = as_published(usage)
    for kind, count in said.items():
        setattr(theirs, AS_PUBLISHED[kind], count)
    if "annotated_pages" in said:  # the publisher counts these among the pages
        theirs.input_document_pages = said.get("pages", 0) + said["annotated_pages"]
    if "audio_hours" in rates:
        theirs.audio_seconds = said["audio_seconds"]
    exact = published.calc_price(theirs)["total_price"]
    cost, lines, is_priced = charge(price, usage, tier, 1, at)
    assert is_priced, (price, tier, said)
    assert {line.kind for line in lines} - {"requests"} == said.keys()
    difference = Decimal(cost).scaleb(-9) - exact
    assert abs(difference) <= (len(lines) + 6) * HALF_A_NANO, (tier, published, said)
    return Counter([*rates, *([tier] if tier else [])])


TOKENS = {name for name, _ in PUBLISHED.values()}


def _rates(published: ModelPrice) -> set[str]:
    known = {name for name, _ in (PUBLISHED | PUBLISHED_OTHERS).values()} | {"audio_hours"}
    return {name for name in known if getattr(published, name) is not None}


def compare(prices: PriceBook, provider: Any, model: Any) -> int:
    """Compare a model around each of its tiers and dates; return how many costs were compared."""
    found = prices.find(provider.id, model.id)
    if provider.id not in PROVIDERS or found is None:
        return 0
    compared = 0
    for at in instants(model):
        price, published = found.at(at), model.get_prices(at)
        assert price is not None, (model.id, at)
        for usage in usages(published):
            cost = published.calc_price(as_published(usage))
            exact = cost["input_price"] + cost["output_price"]
            kinds = sum(map(bool, (usage.input_tokens, usage.output_tokens, *parts(usage))))
            difference = Decimal(token_cost_nanos(price, usage)).scaleb(-9) - exact
            assert abs(difference) <= kinds * HALF_A_NANO, (provider.id, model.id, at, usage)
            compared += 1
    return compared


def instants(model: Any) -> list[datetime]:
    """Now, and around each of the dates and hours at which the price of a model changes."""
    found = [NOW]
    for entry in model.prices if isinstance(model.prices, list) else ():
        assert isinstance(entry, ConditionalPrice)
        if isinstance(entry.constraint, StartDateConstraint):
            changes = [datetime.combine(entry.constraint.start_date, time(), UTC)]
        elif entry.constraint is not None:
            hours = (entry.constraint.start_time, entry.constraint.end_time)
            changes = [datetime.combine(date(2026, 11, 20), hour.replace(tzinfo=UTC)) for hour in hours]
        else:
            continue
        found += [at + timedelta(seconds=seconds) for at in changes for seconds in (-1, 0, 1)]
    return found


def usages(price: ModelPrice) -> list[Usage]:
    """One call of every size at which a tier begins or ends, with and without cached and reasoning tokens."""
    rates = (price.input_mtok, price.output_mtok, price.cache_read_mtok)
    starts = {tier.start for rate in rates for tier in getattr(rate, "tiers", ())}
    sizes = {0, 1, 7, 1_237} | {start + by for start in starts for by in (-1, 0, 1)}
    plain = [Usage(size, 333) for size in sorted(sizes)]
    return plain + [
        Usage(u.input_tokens, 333, u.input_tokens // 3, u.input_tokens // 5, u.input_tokens // 7, 111) for u in plain
    ]


def parts(usage: Usage) -> tuple[int, int, int, int]:
    return (
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
    )


def as_published(usage: Usage) -> PublishedUsage:
    return PublishedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
