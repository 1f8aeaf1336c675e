"""What a tenant adds to the price book goes before the global book, name by name and instant by instant."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.core.given import LARGE, LATER, NOW, PRICES, SMALL, rates
from token_ledger.core.model.name_patterns import check_pattern
from token_ledger.core.model.price import ModelName, ModelPrices, Price, PriceBook
from token_ledger.core.model.price_terms import NO_TERMS, Alias, OwnPrice, PriceTerms, book_with

ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)
FREE = rates("0", "0", "0", "0", "0", "0")


def own(
    number: int, model: str, since: datetime = ALWAYS, *, withdrawn: bool = False, provider: str = "acme"
) -> OwnPrice:
    price = None if withdrawn else Price(-number, FREE, valid_from=since)
    return OwnPrice(-number, provider, model, since, None if withdrawn else {}, price)


def alias(model: str, stands_for: str | None, provider: str = "acme") -> Alias:
    return Alias(1, provider, model, None if stands_for is None else ModelName("acme", stands_for))


def price_id(book: PriceBook, model: str, at: datetime = NOW, provider: str = "acme") -> int | None:
    prices = book.find(provider, model)
    price = None if prices is None else prices.at(at)
    return None if price is None else price.price_id


TERMS = PriceTerms(
    (
        own(1, "large", NOW), own(2, "large", NOW + timedelta(days=2)), own(3, "large", NOW + timedelta(days=1)),
        own(4, "house"), own(5, "local/*", provider="ollama"), own(6, "small*"), own(7, "small-long*"),
        own(8, "small-exact"), own(9, "gone"), own(10, "gone", NOW, withdrawn=True),
    ),
    (
        alias("mine", "house"), alias("deploy-*", "large"), alias("small-exact", "large"),
        alias("small-alias", "later"), alias("ended", "small"), alias("ended", None),
        alias("twice", "mine"), alias("small-long-alias*", "later"),
    ),
)  # fmt: skip
BOOK = book_with(PRICES, TERMS)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("large", -1), ("LARGE", -1), ("house", -4), ("House", -4), ("small", -6), ("small-longer", -7),
        ("later", None),
        ("small-exact", -8), ("mine", -4), ("MINE", -4), ("deploy-1", -1), ("small-alias", None),
        ("large-latest", -1), ("ended", None), ("twice", None), ("unheard-of", None), ("gone", None),
        ("small-long-alias-x", None),
    ],
)  # fmt: skip
def test_a_name_is_looked_up_in_this_order(model: str, expected: int | None) -> None:
    assert price_id(BOOK, model) == expected


@pytest.mark.parametrize(
    ("days", "expected"), [(-1, LARGE.price_id), (0, -1), (0.5, -1), (1, -3), (1.5, -3), (2, -2), (900, -2)]
)
def test_an_entry_counts_from_its_date_on_in_whichever_order_they_were_set(days: float, expected: int) -> None:
    assert price_id(BOOK, "large", NOW + timedelta(days=days)) == expected


def test_of_two_entries_from_one_instant_on_the_later_decision_counts() -> None:
    book = book_with(PRICES, PriceTerms((own(1, "large"), own(2, "LARGE"))))
    assert price_id(book, "large") == -2


def test_a_withdrawn_entry_leaves_the_global_price() -> None:
    terms = PriceTerms((own(1, "small"), own(2, "small", NOW, withdrawn=True)))
    book = book_with(PRICES, terms)
    assert price_id(book, "small", NOW - timedelta(seconds=1)) == -1
    assert price_id(book, "small", NOW) == SMALL.price_id


def test_a_pattern_is_of_its_provider_only_and_keeps_the_names_that_are_called() -> None:
    assert price_id(BOOK, "local/llama3", provider="ollama") == -5
    assert price_id(BOOK, "local/llama3", provider="acme") is None
    assert BOOK.name_of("ollama", "local/Llama3") == ("ollama", "local/llama3")


@pytest.mark.parametrize(
    ("model", "name"),
    [("large", "large"), ("large-latest", "large"), ("House", "house"), ("mine", "house"), ("deploy-1", "large")],
)
def test_a_name_in_the_books_is_that_of_the_model_whose_price_counts(model: str, name: str) -> None:
    assert BOOK.name_of("acme", model) == ("acme", name)


def test_every_entry_is_found_by_its_id() -> None:
    found = [BOOK.entry(number) for number in (-1, LARGE.price_id, LATER.price_id, 99)]
    assert [each and each.price_id for each in found] == [-1, 1, 3, None]
    assert BOOK.entry(-10) is None


def test_a_tenant_without_terms_has_the_global_book() -> None:
    assert book_with(PRICES, NO_TERMS) is PRICES
    assert BOOK.base is PRICES


def test_a_name_without_a_model_matches_no_pattern() -> None:
    assert book_with(PRICES, PriceTerms((own(1, "*"),))).find("acme", "") is None


def test_the_nearest_names_are_the_tenants_too() -> None:
    assert BOOK.nearest("acme", "house2")[0] == "acme/house"
    assert BOOK.nearest("acme", "largee")[0] == "acme/large"
    assert BOOK.nearest("zzz", "qqq") == ()


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("openai/gtp-5.4", "openai/gpt-5.4"), ("openai/gpt5.4", "openai/gpt-5.4"), ("openai/gpt-5-4", "openai/gpt-5.4"),
        ("open-ai/gpt-5.4", "openai/gpt-5.4"), ("anthropic/claude-sonet-4-5", "anthropic/claude-sonnet-4-5"),
        ("antropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("openai/ft:gpt-5.4:acme-and-sons:large-language:B7r2", "openai/gpt-5.4"),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_near_what_was_meant(asked: str, nearest: str) -> None:
    names = ("openai/gpt-5.4", "openai/gpt-5.4-mini", "openai/o3", "anthropic/claude-sonnet-4-5", "mistral/large")
    known = [ModelName(*name.split("/")) for name in names]
    book = PriceBook({name: ModelPrices(*name, ()) for name in known}, lambda *_: None)
    assert book.nearest(*asked.split("/"))[0] == nearest


def test_a_pattern_has_two_stars_at_most() -> None:
    check_pattern("*a*")
    with pytest.raises(ValueError, match="more than 2"):
        check_pattern("a*b*c*")


def test_a_stand_in_is_no_price_of_any_name() -> None:
    stand_in = own(1, "*", provider="*")
    book = book_with(PRICES, PriceTerms((stand_in, own(2, "*", NOW, provider="*", withdrawn=True))))
    assert book.find("acme", "unheard-of") is None
    assert book.find("*", "*") is None
    found = book.stand_in_at(NOW - timedelta(seconds=1))
    assert found is not None
    assert (found.price_id, found.stands_in) == (-1, True)
    assert book.entry(-1) == found
    assert book.stand_in_at(NOW) is None
    assert PRICES.stand_in_at(NOW) is None
