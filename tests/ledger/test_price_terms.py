"""A changed price counts for later reserves in every process, and every event says which entry it was priced by."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.global_prices import add_global_alias
from token_ledger.storage.prices import check_rates, load_price_book

_numbers = iter(range(1_000_000))


def priced(model: str, *dollars: str, provider: str = "openai", **fields: Any) -> administration.SetPrice:
    stored = None if not dollars else {"base": dict(zip(("input", "output"), dollars, strict=True))}
    rates, price = (None, None) if stored is None else (stored, check_rates(stored))
    key = f"price {next(_numbers)}"
    return administration.SetPrice(key, b"x", provider, model, rates, price, "root", **fields)


def called(model: str, stands_for: str | None, provider: str = "azure") -> administration.SetAlias:
    name = None if stands_for is None else ModelName("openai", stands_for)
    return administration.SetAlias(f"alias {next(_numbers)}", b"x", provider, model, name, "root")


async def cost(commits: GroupCommit, ledger: Ledger, model: str, provider: str = "openai") -> tuple[str, int, bool]:
    """Record a call of a million tokens in and out; return dollars, the sign of the price's id, and `unpriced`."""
    usage = Usage(1_000_000, 1_000_000)
    event = commands.Record(f"call {next(_numbers)}", b"x", "test", "data", provider, model, usage, user="ada")
    outcome = await commits.submit(ledger.tenant, event)
    assert isinstance(outcome, outcomes.Recorded), outcome
    booked = outcome.event
    sign = (booked.price_id > 0) - (booked.price_id < 0)
    return format((Decimal(booked.cost_nanos) / 10**9).normalize(), "f"), sign, booked.unpriced


async def test_a_tenants_price_counts_in_every_process_from_the_next_batch_on(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        async with ledger.database.reading() as connection:
            other = GroupCommit(ledger.database, await load_price_book(connection))
        for commits in (ledger.commits, other):
            assert await cost(commits, ledger, "gpt-5.4") == ("27.5", 1, False)
        await ledger.ask(priced("gpt-5.4", "1", "2"), outcomes.Changed)
        for commits in (other, ledger.commits):
            assert await cost(commits, ledger, "gpt-5.4") == ("3", -1, False)
            assert await cost(commits, ledger, "gpt-5.4-2026-03-05") == ("3", -1, False)
        await ledger.ask(priced("gpt-5.4"), outcomes.Changed)
        for commits in (other, ledger.commits):
            assert await cost(commits, ledger, "gpt-5.4") == ("27.5", 1, False)
        await other.drain()
        assert (await verify_database(database_url)).clean


async def test_a_hold_is_settled_at_the_price_that_it_was_given_at(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        hold = await ledger.hold(model="gpt-5.4")
        await ledger.ask(priced("gpt-5.4", "0", "0"), outcomes.Changed)
        await ledger.settle(hold, 1_000, 0)
        assert await ledger.owner.fetchval("select cost_nanos from usage_events") == 2_500_000
        assert (await verify_database(database_url)).clean


async def test_a_call_that_comes_together_with_a_price_and_behind_it_has_it(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await cost(ledger.commits, ledger, "gpt-5.4")
        event = commands.Record("k", b"x", "test", "data", "openai", "gpt-5.4", Usage(10**6, 10**6), user="ada")
        batches: list[Any] = []
        ledger.commits._report = batches.append
        _, booked = await asyncio.gather(
            ledger.commits.submit(ledger.tenant, priced("gpt-5.4", "1", "2")),
            ledger.commits.submit(ledger.tenant, event),
        )
        assert [each.operations for each in batches] == [1, 1]
        assert isinstance(booked, outcomes.Recorded)
        assert booked.event.cost_nanos == 3_000_000_000
        assert (await cost(ledger.commits, ledger, "gpt-5.4"))[0] == "3"


async def test_a_price_of_zero_is_free_and_an_unknown_model_is_unpriced(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        assert await cost(ledger.commits, ledger, "llama3", "ollama") == ("0", 0, True)
        await ledger.ask(priced("*", "0", "0", provider="ollama"), outcomes.Changed)
        assert await cost(ledger.commits, ledger, "llama3", "ollama") == ("0", -1, False)
        assert await cost(ledger.commits, ledger, "deepseek/deepseek-r1:free", "openrouter") == ("0", 1, False)


async def test_a_dated_price_counts_by_the_instant_of_the_call(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        now = (await ledger.ask(priced("gpt-5.4", "1", "1"), outcomes.Changed)).entry
        assert now.after["rates"] == {"base": {"input": "1", "output": "1"}}
        later = await ledger.owner.fetchval("select clock_timestamp()") + timedelta(hours=1)
        await ledger.ask(priced("gpt-5.4", "9", "9", valid_from=later), outcomes.Changed)
        assert (await cost(ledger.commits, ledger, "gpt-5.4"))[0] == "2"
        usage = Usage(10**6, 10**6)
        backdated = commands.Record(
            "past", b"x", "test", "data", "openai", "gpt-5.4", usage, user="ada", occurred_at=later - timedelta(hours=3)
        )
        assert (await ledger.ask(backdated, outcomes.Recorded)).event.cost_nanos == 27_500_000_000


async def test_what_is_set_already_changes_nothing_but_the_audit_log(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        for command in (priced("gpt-5.4", "1", "2"), called("prod", "gpt-5.4")):
            await ledger.ask(command, outcomes.Changed)
        version = await ledger.owner.fetchval("select config_version from tenant_ledgers where tenant_id = 1")
        for command in (priced("gpt-5.4", "1", "2"), priced("GPT-5.4", "1", "2"), called("prod", "gpt-5.4")):
            entry = (await ledger.ask(command, outcomes.Changed)).entry
            assert entry.before == entry.after
        assert await ledger.owner.fetchval("select count(*) from tenant_prices") == 1
        assert await ledger.owner.fetchval("select count(*) from tenant_aliases") == 1
        assert await ledger.owner.fetchval("select config_version from tenant_ledgers where tenant_id = 1") == version


async def test_an_alias_of_the_tenant_and_one_of_the_operator(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        async with ledger.database.reading() as connection:
            book = await load_price_book(connection)
        await add_global_alias(ledger.database, book, ModelName("azure", "shared-*"), ModelName("openai", "o3"), "root")
        await ledger.ask(called("prod", "gpt-5.4"), outcomes.Changed)
        assert (await cost(ledger.commits, ledger, "prod", "azure"))[0] == "27.5"
        assert (await cost(ledger.commits, ledger, "shared-1", "azure"))[0] == "10"
        await ledger.ask(called("shared-1", "gpt-5.4"), outcomes.Changed)
        assert (await cost(ledger.commits, ledger, "shared-1", "azure"))[0] == "27.5"
        # A name that is in the books keeps its name there.
        models = await ledger.owner.fetch("select distinct requested_model, model from usage_events order by 1")
        assert [tuple(row) for row in models] == [("prod", "gpt-5.4"), ("shared-1", "o3")]
        refused = await ledger.ask(called("other", "no-such-model"), outcomes.Refused)
        assert (refused.code, refused.field) == (outcomes.Code.UNKNOWN_MODEL, "stands_for")


async def test_fine_tunes_never_cost_what_their_base_model_does(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        for model, dollars in (
            ("ft:gpt-4o-2024-08-06:acme::1", "18.75"), ("ft:gpt-4o:acme:x:2", "18.75"),
            ("ft:gpt-4o-mini:acme::3", "1.5"),
        ):  # fmt: skip
            assert await cost(ledger.commits, ledger, model) == (dollars, 1, False)
        for provider, model in (("openai", "ft:gpt-5.4:acme::1"), ("azure", "ft:o4-mini-2025-04-16:acme::1")):
            assert await cost(ledger.commits, ledger, model, provider) == ("0", 0, True)


async def test_an_unknown_model_is_refused_with_the_nearest_names_and_what_would_price_it(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        refused = await ledger.ask(
            commands.Reserve("k", b"x", "data", "openai", "gtp-5.4", input_tokens=1, max_output_tokens=1, user="ada"),
            outcomes.Refused,
        )
        assert "the nearest known names are openai/gpt-5.4, " in refused.detail
        assert "token-ledger prices alias acme openai/gtp-5.4 openai/gpt-5.4" in refused.detail
        assert "token-ledger prices set acme openai/gtp-5.4 --input DOLLARS --output DOLLARS" in refused.detail


async def test_the_service_can_not_change_the_global_book(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        pool = await ledger.database.writer_pool()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute("insert into price_aliases (provider, model) values ('a', 'b')")


async def test_with_a_stand_in_unknown_models_are_held_at_its_rate_and_flagged(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        asked = commands.Reserve(
            "k", b"x", "data", "house", "new", input_tokens=1_000_000, max_output_tokens=1_000_000, user="ada"
        )
        assert (await ledger.ask(asked, outcomes.Refused)).code is outcomes.Code.UNKNOWN_MODEL
        await ledger.ask(priced("*", "15", "75", provider="*"), outcomes.Changed)
        held = (await ledger.ask(asked, outcomes.Granted)).reservation
        assert held.held_nanos == 90 * 10**9
        await ledger.settle(held.reservation_id, 1_000_000, 0)
        assert await cost(ledger.commits, ledger, "new", "house") == ("90", -1, True)
        assert await cost(ledger.commits, ledger, "gpt-5.4") == ("27.5", 1, False)
        booked = await ledger.owner.fetch("select cost_nanos, unpriced, model from usage_events order by event_id")
        assert [tuple(row) for row in booked] == [
            (15 * 10**9, True, "new"), (90 * 10**9, True, "new"), (27_500_000_000, False, "gpt-5.4"),
        ]  # fmt: skip
        await ledger.ask(priced("*", provider="*"), outcomes.Changed)
        assert (await ledger.ask(asked, outcomes.Refused)).code is outcomes.Code.UNKNOWN_MODEL
        assert (await verify_database(database_url)).clean


async def test_reading_the_book_again_makes_only_new_entries(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        async with ledger.database.reading() as connection:
            before = await load_price_book(connection)
        price_id = await ledger.owner.fetchval(
            "insert into prices (provider, model, ordinal, rates, source) values ('house', 'new', 0,"
            ' \'{"base": {"input": "1", "output": "2"}}\', \'test\') returning price_id'
        )
        async with ledger.database.reading() as connection:
            after = await load_price_book(connection)
        assert all(after.entry(number) is entry for number, entry in before._entries.items())
        new = after.entry(price_id)
        assert new is not None
        assert (before.entry(price_id), new.base.output) == (None, 2 * 10**18)
