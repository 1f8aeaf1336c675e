"""What a name of a model is in the books is decided once, stored, and outlives processes and price books."""

from typing import Any

import pytest

from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch.administration import SetTrigger
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded, TriggerAnswer
from token_ledger.core.model.price import ModelPrices, PriceBook
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database


def refreshed(ledger: Ledger, aliases: dict[str, str]) -> PriceBook:
    """The price book of a later release, with a new entry of the same price and other aliases."""
    prices: PriceBook = ledger._prices
    entry = prices.find("openai", "gpt-5.4")
    assert entry is not None
    models = {("openai", name): ModelPrices("openai", name, entry.entries) for name in ("gpt-5.4", "gpt-5.4-0305")}

    def resolve(provider: str, model: str) -> tuple[str, str] | None:
        name = aliases.get(model)
        return None if name is None else ("openai", name)

    return PriceBook({k: v for k, v in models.items() if k[1] not in aliases}, resolve)


async def booked(ledger: Ledger, model: str) -> str:
    event = Record("k", b"x", "test", "data", "openai", model, Usage(10, 1), user="ada")
    return (await ledger.ask(event, Recorded)).event.facts.model


@pytest.mark.parametrize("name", ["GPT-5.4", "gpt-5.4", "gpt-5.4-0305", "gpt-5.4-new"])
async def test_a_refresh_of_prices_splits_no_model(name: str, database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        assert [await booked(ledger, known) for known in ("gpt-5.4", "GPT-5.4")] == ["gpt-5.4"] * 2
        # What was an entry is an alias of another by now.
        renamed = dict.fromkeys(("gpt-5.4", "GPT-5.4", "gpt-5.4-new"), "gpt-5.4-0305")
        ledger.commits = GroupCommit(ledger.database, refreshed(ledger, renamed))
        assert await booked(ledger, name) == "gpt-5.4"
        assert (await verify_database(database_url)).clean


async def test_a_refresh_of_prices_merges_no_models(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        names = ("gpt-5.4", "gpt-5.4-mini")
        assert [await booked(ledger, name) for name in names] == [*names]
        ledger.commits = GroupCommit(ledger.database, refreshed(ledger, dict.fromkeys(names, "gpt-5.4-0305")))
        assert [await booked(ledger, name) for name in names] == [*names]
        assert (await verify_database(database_url)).clean


async def test_every_process_takes_what_was_decided_first(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        other = GroupCommit(ledger.database, refreshed(ledger, {}))
        assert await booked(ledger, "gpt-5.4-mini-2026-03-17") == "gpt-5.4-mini"
        first, ledger.commits = ledger.commits, other
        assert await booked(ledger, "gpt-5.4-mini-2026-03-17") == "gpt-5.4-mini"
        rows: list[Any] = await ledger.owner.fetch("select asked_model, model from model_names")
        assert [tuple(row) for row in rows] == [("gpt-5.4-mini-2026-03-17", "gpt-5.4-mini")]
        await first.drain()


async def test_a_name_in_a_ladder_is_decided_once(database_url: str) -> None:
    ladder = (Downgrade("openai", "gpt-5.4", "openai", "GPT-5.4-mini", (), 100_000),)
    async with open_ledger(database_url) as ledger:
        await booked(ledger, "gpt-5.4")
        for percent in (50, 60):
            trigger = SetTrigger("k", b"x", TriggerKind.HIGH_COST, percent, Mode.OBSERVE, downgrades=ladder)
            await ledger.ask(trigger, TriggerAnswer)
            await ledger.restart()
        rows: list[Any] = await ledger.owner.fetch("select asked_model from model_names order by 1")
        assert [row["asked_model"] for row in rows] == ["GPT-5.4-mini", "gpt-5.4"]
