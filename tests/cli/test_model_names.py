"""`model-names` and `rename-model`: what a refresh of prices would split or merge is listed, and changes on request."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import rows, run, without_database
from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.model.price import ModelPrices, PriceBook
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database

NAMES = ("gpt-5.4", "gpt-5.4-mini", "GPT-5.4-MINI", "gpt-5.4-2026-03-05")
BOOKS = "select asked_model, model from model_names order by decided_id"


def earlier(ledger: Ledger) -> PriceBook:
    """A price book in which the small model was an alias of the large one, and a dated name an entry of its own."""
    prices: Any = ledger._prices.find("openai", "gpt-5.4")
    models = {("openai", name): ModelPrices("openai", name, prices.entries) for name in (NAMES[0], NAMES[3])}
    return PriceBook(models, lambda provider, model: ("openai", "gpt-5.4") if model.lower() in NAMES else None)


async def book_before_the_refresh(url: str) -> None:
    async with open_ledger(url) as ledger:
        ledger.commits = GroupCommit(ledger.database, earlier(ledger))
        for model in NAMES:
            event = Record("k", b"x", "test", "data", "openai", model, Usage(10, 1), user="ada")
            await ledger.ask(event, Recorded)
        # The next process books by the price book of the database.
        await ledger.restart()


async def test_what_the_price_book_calls_otherwise_is_listed_and_accepted(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await book_before_the_refresh(database_url)
    assert await run("model-names", "acme") == 0
    said = capsys.readouterr().out
    assert "openai/gpt-5.4-mini  is  openai/gpt-5.4  since" in said
    assert said.count("to accept:") == 3
    accept = "token-ledger rename-model acme openai/gpt-5.4-mini openai/gpt-5.4-mini --reason"
    assert f"the price book calls it openai/gpt-5.4-mini; to accept: {accept}" in said
    assert await run("model-names", "acme", "--accept") == 0
    said = capsys.readouterr().out
    assert "openai/gpt-5.4-2026-03-05 was openai/gpt-5.4-2026-03-05 and is openai/gpt-5.4 now" in said
    assert said.count(" now: ") == 3
    assert dict(map(tuple, await rows(database_url, BOOKS))) == {
        "gpt-5.4": "gpt-5.4", "gpt-5.4-mini": "gpt-5.4-mini", "GPT-5.4-MINI": "gpt-5.4-mini",
        "gpt-5.4-2026-03-05": "gpt-5.4",
    }  # fmt: skip
    assert await run("model-names", "acme", "--accept") == 0
    assert "as the books do" in capsys.readouterr().out
    assert (await verify_database(database_url)).clean


async def test_a_model_is_renamed_and_what_an_administrator_decided_stays(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await book_before_the_refresh(database_url)
    assert await run("rename-model", "acme", "openai/gpt-5.4-mini", "openai/small", "--reason", "as we say") == 0
    assert capsys.readouterr().out == (
        "openai/gpt-5.4-mini was openai/gpt-5.4 and is openai/small now: names 1, accounts carried 0\n"
    )
    assert await run("model-names", "acme", "--accept") == 0
    models = dict(map(tuple, await rows(database_url, BOOKS)))
    assert (models["gpt-5.4-mini"], models["GPT-5.4-MINI"]) == ("small", "small")
    assert (await verify_database(database_url)).clean


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("gpt-5.4", "openai/small", "old 'gpt-5.4': write the provider and the model, such as openai/gpt-5.4"),
        ("openai/gpt-5.4", "openai/", "new 'openai/': write the provider and the model"),
        ("openai/gpt-5.4", "openai/GPT-5.4", "nothing changes; check both names"),
        ("openai/a\u200bb", "openai/small", "the model of old 'a\\u200bb': character 2"),
    ],
)
async def test_a_wrong_name_is_refused(
    old: str, new: str, complaint: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    capsys.readouterr()
    assert await run("rename-model", "acme", old, new) == 1
    assert complaint in without_database(capsys.readouterr().err)
