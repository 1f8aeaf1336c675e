"""`prices recost`: a price that comes later offers it, a dry run shows it, and --accept books just that, once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.commands import rows, run
from tests.cli.test_prices import Capture, acme, said
from token_ledger.cli.connections import open_ledger, tenant_named
from token_ledger.cli.recostings import Pace, recost_calls
from token_ledger.core.batch.administration import Recost
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.decisions import decide
from token_ledger.core.decisions.recostings import recost
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.recosting import LAST_SEQUENCE
from token_ledger.core.model.usage import Usage
from token_ledger.proof.verify import verify_database
from token_ledger.storage.reads.recostings import Wanted

__all__ = ["acme"]
AGO = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")


async def record(url: str, *names: str, tenant: str = "acme", **others: int) -> None:
    """Record a call of a thousand tokens of input and a hundred of output for each name."""
    async with open_ledger(url) as (database, commits):
        number = await tenant_named(database, tenant)
        for place, name in enumerate(names):
            provider, _, model = name.partition("/")
            usage = Usage(1_000, 100, others=others_of(others))
            event = Record(f"{tenant} {name} {place}", b"x", "batch", "data", provider, model, usage, user="ada")
            assert isinstance(await commits.submit(number, event), Recorded)


async def test_a_price_offers_what_a_dry_run_shows_and_accepting_books(acme: str, capsys: Capture) -> None:
    await record(acme, "house/summarizer", "house/summarizer", web_searches=2)
    await run("tenant", "globex")
    await record(acme, "house/summarizer", tenant="globex")
    capsys.readouterr()
    price = ("prices", "set", "acme", "house/summarizer", "--input", "2", "--output", "4")
    assert "recost" not in await said(capsys, *price)
    offered = (await said(capsys, *price, "--other", "web_searches=10", "--from", AGO)).splitlines()
    assert offered[1] == (
        "acme: 2 calls were booked without a price that they have now; to see what changes:"
        " token-ledger prices recost acme house/summarizer"
    )
    words = offered[1].partition("token-ledger ")[2].split()
    line = (
        "house/summarizer: 2 calls, without a price were 2,200 tokens, 4 web_searches;"
        " cost 0.000000000 → 0.044800000 (+0.044800000)"
    )
    shown = (await said(capsys, *words)).splitlines()
    assert shown == [line, "calls that would be re-costed: 2; add --accept to book it"]
    assert await rows(acme, "select 1 from usage_events where recosts is not null") == []
    assert (await said(capsys, *words, "--accept")).splitlines() == [line, "calls re-costed: 2"]
    nothing = "nothing to change: no call without a price has one by now that is valid at its time\n"
    for again in (words, [*words, "--accept"], ["prices", "recost", "acme"]):
        assert await said(capsys, *again) == nothing
    booked = await rows(acme, "select sum(cost_nanos)::bigint as nanos, count(*) as events from usage_events")
    assert [tuple(row) for row in booked] == [(44_800_000, 5)]
    [entry] = await rows(acme, "select actor, target from audit_log where action = 'calls.recost'")
    assert (entry["actor"].partition(":")[0], entry["target"]) == ("cli", "house/summarizer")
    report = await verify_database(acme)
    assert report.clean, report.as_text()


async def test_a_re_costing_is_of_a_model_a_pattern_and_a_span(acme: str, capsys: Capture) -> None:
    await record(acme, "house/a", "house/b", "azure/a")
    for name in ("house/*", "azure/*"):
        await said(capsys, "prices", "set", "acme", name, "--input", "2", "--output", "4", "--from", AGO)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    for words, models in (
        ((), ["azure/a", "house/a", "house/b"]), (("house/*",), ["house/a", "house/b"]), (("House/A",), ["house/a"]),
        (("house/*", "--since", tomorrow), []), (("--until", "2026-01-01"), []),
        (("--since", "2026-01-01", "--until", tomorrow), ["azure/a", "house/a", "house/b"]),
    ):  # fmt: skip
        shown = json.loads(await said(capsys, "prices", "recost", "acme", *words, "--json"))
        assert [f"{each['provider']}/{each['model']}" for each in shown["models"]] == models
        assert not shown["accepted"]


async def test_a_corrected_price_is_re_costed_in_pages_with_a_total(
    acme: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await said(capsys, "prices", "set", "acme", "house/*", "--input", "2", "--output", "4", "--from", AGO)
    await record(acme, *(f"house/{number % 2}" for number in range(6)))
    await said(capsys, "prices", "set", "acme", "house/0", "--input", "1", "--output", "4", "--from", AGO)
    words = ("prices", "recost", "acme", "--since", AGO, "--also-priced")
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 2)
    line = "house/0: 3 calls; cost 0.007200000 → 0.004200000 (-0.003000000)"
    shown = (await said(capsys, *words)).splitlines()
    assert shown == [line, "calls that would be re-costed: 3; add --accept to book it"]
    assert await rows(acme, "select 1 from usage_events where recosts is not null") == []
    nothing = await said(capsys, "prices", "recost", "acme", "--since", AGO)
    assert "nothing to change: no call without a price" in nothing
    assert (await said(capsys, *words, "--accept")).splitlines() == [line, "calls re-costed: 3"]
    assert len(await rows(acme, "select 1 from audit_log where action = 'calls.recost'")) > 1
    corrected = "nothing to change: every call costs what the price of its time says by now\n"
    assert await said(capsys, *words, "--accept") == corrected
    await said(capsys, "prices", "set", "acme", "house/*", "--input", "3", "--output", "4", "--from", AGO)
    await said(capsys, "prices", "set", "acme", "house/0", "--input", "4", "--output", "4", "--from", AGO)
    shown = (await said(capsys, *words)).splitlines()
    assert shown[2:] == [
        "all models: 6 calls; cost 0.011400000 → 0.023400000 (+0.012000000)",
        "calls that would be re-costed: 6; add --accept to book it",
    ]
    total = json.loads(await said(capsys, *words, "--json"))["total"]
    assert (total["events"], total["difference"]) == (6, "0.012000000")
    assert (await verify_database(acme)).clean


async def test_one_that_was_interrupted_is_continued(
    acme: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(acme, *(f"house/{number % 3}" for number in range(10)))
    await said(capsys, "prices", "set", "acme", "house/*", "--input", "2", "--output", "4", "--from", AGO)
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 4)
    with monkeypatch.context() as broken:

        def stop(into: object, row: object) -> None:
            raise ConnectionError("it is interrupted after its first batch")

        broken.setattr("token_ledger.cli.recostings._add", stop)
        assert await run("prices", "recost", "acme", "--accept") != 0
    capsys.readouterr()
    assert len(await rows(acme, "select 1 from usage_events where recosts is not null")) == 4
    assert (await said(capsys, "prices", "recost", "acme", "--accept")).endswith("calls re-costed: 6\n")
    booked = await rows(acme, "select recosts from usage_events where recosts is not null")
    assert len({row["recosts"] for row in booked}) == len(booked) == 10
    assert (await verify_database(acme)).clean


async def test_only_the_last_batch_waits_for_the_disk(
    acme: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(acme, *(f"house/{number}" for number in range(5)))
    await said(capsys, "prices", "set", "acme", "house/*", "--input", "2", "--output", "4", "--from", AGO)
    monkeypatch.setattr("token_ledger.cli.recostings._PAGE", 3)
    monkeypatch.setattr("token_ledger.cli.recostings._FEW", 2)
    said_to_it: list[str] = []
    async with open_ledger(acme) as (database, commits):
        async with (await database.writer_pool()).acquire() as connection:
            connection.add_query_logger(lambda each: said_to_it.append(each.query))
        wanted = Wanted(also_priced=True)
        await recost_calls(database, commits, await tenant_named(database, "acme"), wanted, accept=True)
    ended = [each for each in said_to_it if "commit" in each]
    at_once = "set local synchronous_commit = off; commit"
    assert ended == [at_once, at_once, at_once, "commit"]
    assert (await verify_database(acme)).clean


async def test_a_page_that_is_read_while_others_are_booked_stands(
    acme: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(acme, *(f"house/{number}" for number in range(9)))
    await said(capsys, "prices", "set", "acme", "house/*", "--input", "2", "--output", "4", "--from", AGO)
    monkeypatch.setattr("token_ledger.cli.recostings._PAGE", 3)
    monkeypatch.setattr("token_ledger.cli.recostings._FEW", 2)
    bases: list[tuple[int, list[tuple[int, int]]]] = []

    def noted(books: Books, command: Recost) -> object:
        assert command.decided is not None
        basis = command.decided.basis
        bases.append((books.sequence, basis.unknown_batches))
        return recost(books, command)

    monkeypatch.setitem(decide._DECISIONS, Recost, noted)
    async with open_ledger(acme) as (database, commits):
        wanted = Wanted(also_priced=True)
        await recost_calls(database, commits, await tenant_named(database, "acme"), wanted, accept=True)
    assert len(bases) == 6
    assert all(unknown == [(sequence, LAST_SEQUENCE - 1)] for sequence, unknown in bases), bases
    assert (await verify_database(acme)).clean


async def test_an_alias_and_a_file_offer_it_too(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(acme, "azure/prod-chat", "house/a")
    said_now = await said(capsys, "prices", "alias", "acme", "azure/prod-*", "openai/gpt-4o")
    assert "to see what changes: token-ledger prices recost acme 'azure/prod-*'" in said_now
    path = tmp_path / "setup.yaml"
    entry = f"{{provider: house, model: a, rates: {{base: {{input: '2', output: '4'}}}}, valid_from: '{AGO}'}}"
    path.write_text(f"tenants:\n  - name: acme\n    prices:\n      - {entry}\n")
    assert "recost" not in await said(capsys, "apply", str(path), "--plan")
    assert "to see what changes: token-ledger prices recost acme house/a" in await said(capsys, "apply", str(path))
    assert "recost" not in await said(capsys, "apply", str(path))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["summarizer"], "write the provider and the model, such as openai/gpt-5.4"),
        (["house/***"], "has more than 2 `*`"),
        (["--since", "soon"], "--since 'soon'"),
    ],
)
async def test_complaints_say_what_would_be_right(words: list[str], complaint: str, acme: str, capsys: Capture) -> None:
    assert complaint in await said(capsys, "prices", "recost", "acme", *words, status=1)


def test_batches_are_small_until_nobody_else_has_booked_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_FEW", 2), ("_MANY", 5), ("_BATCHES_OF_FEW", 3)):
        monkeypatch.setattr(f"token_ledger.cli.recostings.{name}", value)
    pace = Pace()
    sizes = []
    for sequence in (7, 8, 9, 10, 12, 13, 14, 15, 16):  # somebody else has booked the eleventh
        sizes.append(pace.size)
        pace.note(sequence)
    assert sizes == [2, 2, 2, 5, 5, 2, 2, 2, 5]
