"""`prices refresh` and `prices diff`: what is published is proposed, and counts from when it is accepted on."""

from pathlib import Path

import asyncpg
import pytest

from tests.cli.commands import rows, run, without_database
from tests.proof.ledger import open_ledger
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.model.usage import Usage
from token_ledger.proof.verify import verify_database
from token_ledger.storage.prices import seed_prices
from token_ledger.storage.published_prices import source_name

Capture = pytest.CaptureFixture[str]
OLDER = (
    "update prices set source = 'genai-prices 0.1'",
    """update prices set rates = '{"base": {"input": "9", "output": "9"}}'
    where (provider, model) = ('openai', 'gpt-4o')""",
    "delete from prices where (provider, model) = ('openai', 'o3-mini')",
)


@pytest.fixture
async def older_url(settings: Path, database_url: str) -> str:
    """A database with the prices of an older release: one of another price, one without a model that is new."""
    connection = await asyncpg.connect(database_url)
    for statement in OLDER:
        await connection.execute(statement)
    await connection.close()
    return database_url


async def said(capsys: Capture, *words: str) -> str:
    assert await run("prices", *words) == 0
    return capsys.readouterr().out


async def test_a_database_with_what_is_published_has_nothing_to_refresh(
    settings: Path, database_url: str, capsys: Capture
) -> None:
    for words in (("refresh",), ("refresh", "--accept")):
        assert (await said(capsys, *words)).startswith("nothing to change: the price book has what genai-prices ")
    assert await rows(database_url, "select from audit_log where action = 'prices.refresh'") == []


async def test_a_newer_release_changes_nothing_until_somebody_accepts(older_url: str, capsys: Capture) -> None:
    before = await rows(older_url, "select count(*), max(price_id) from prices")
    assert await seed_prices(older_url) == 0
    shown = (await said(capsys, "refresh")).splitlines()
    assert shown[0].startswith(
        "openai/gpt-4o: input 9, output 9 → input 2.5, output 10, cache_read 1.25, web_searches 10"
    )
    assert shown[1].startswith("openai/o3-mini: new: input 1.1, output 4.4")
    assert shown[2].startswith("models that would change: 2; add --accept")
    assert f"models that differ from {source_name()}: 2; " in await said(capsys, "diff")
    assert await rows(older_url, "select count(*), max(price_id) from prices") == before


async def test_what_is_accepted_counts_from_then_on_in_running_processes(older_url: str, capsys: Capture) -> None:
    usage = Usage(1_000_000, 1_000_000)
    async with open_ledger(older_url) as ledger:

        async def cost(key: str, model: str, **fields: object) -> tuple[int, bool]:
            event = Record(key, b"x", "test", "data", "openai", model, usage, user="ada", **fields)  # type: ignore[arg-type]
            booked = (await ledger.ask(event, Recorded)).event
            return booked.cost_nanos // 10**6, booked.unpriced

        earlier = await ledger.owner.fetchval("select clock_timestamp()")
        assert await cost("1", "gpt-4o") == (18_000, False)
        assert await cost("2", "o3-mini") == (0, True)
        only = await said(capsys, "refresh", "--model", "o3*", "--accept")
        assert only.splitlines()[1].startswith("models taken over from genai-prices")
        assert await cost("3", "o3-mini") == (5_500, False)
        assert await cost("4", "gpt-4o") == (18_000, False)
        await said(capsys, "refresh", "--provider", "openai", "--accept")
        assert await cost("5", "gpt-4o") == (12_500, False)
        assert await cost("6", "gpt-4o", occurred_at=earlier) == (18_000, False)
        assert (await verify_database(older_url)).clean
    assert (await said(capsys, "refresh")).startswith("nothing to change")
    logged = await rows(older_url, "select after from audit_log where tenant_id = 0 and action = 'prices.refresh'")
    assert [row["after"] for row in logged] == ['{"new": 1, "changed": 0}', '{"new": 0, "changed": 1}']


async def test_what_is_not_taken_over_is_listed_with_why(settings: Path, database_url: str, capsys: Capture) -> None:
    shown = await said(capsys, "diff", "--provider", "openai")
    assert shown.startswith("models that differ from genai-prices")
    assert "  openai/moderation: no price is published" in shown.splitlines()
    of_one = (await said(capsys, "diff", "--model", "moderation")).splitlines()
    assert of_one[1:] == [
        "models of which something that is published is not taken over: 1",
        "  openai/moderation: no price is published",
    ]


async def test_a_refresh_takes_the_owner_of_the_tables(
    older_url: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_ledger.storage.price_refresh.AS_OWNER", "select 1")  # as one who is no owner
    assert await run("prices", "refresh", "--accept") == 1
    complaint = without_database(capsys.readouterr().err)
    assert "permission denied for table prices" in complaint, complaint
    assert "grant its role more" in complaint
    assert await rows(older_url, "select from prices where source like '%accepted%'") == []
