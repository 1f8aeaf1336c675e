"""Sessions that are imported while they still run: a call that was unfinished is corrected by a later import."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.imports.log_reading import ADA, written
from tests.imports.log_samples import CLAUDE_CODE, CODEX, bytes_of
from tests.imports.test_claude_code import line
from tests.proof.every_kind import recost_all
from tests.proof.ledger import Ledger, open_ledger
from tests.reports.reading import spend_by
from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.commands import Command, Record
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT, Window
from token_ledger.imports.booking import book, read, try_out
from token_ledger.imports.kinds import KINDS, rows_of
from token_ledger.imports.rows import CallRow
from token_ledger.imports.spool import Spool
from token_ledger.imports.stated_costs import StatedCosts
from token_ledger.imports.summary import Summary, totals
from token_ledger.proof.verify import verify_database
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.prices import check_rates

GROWING = CLAUDE_CODE[0]
"""A session whose calls grow from line to line."""


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant with budgets; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        for window in (Window.DAY, Window.TOTAL):
            budget = administration.CreateBudget("k", b"x", window, (("user", "*"),), Limits(tokens=5_000), window)
            await opened.ask(budget, outcomes.BudgetAnswer)
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def imported(ledger: Ledger, path: Path, kind: str = "claude-code", *, dry_run: bool = False) -> Summary:
    async with ledger.database.reading(ledger.tenant) as connection:
        calendar, _ = await load_calendar(connection, ledger.tenant)
    summary, chosen = Summary(calendar), KINDS[kind]

    async def next_piece(calls: int) -> None:
        """Go on at once."""

    async def decide(commands: Sequence[Command]) -> Sequence[Outcome]:
        return await ledger.commits.try_out(ledger.tenant, commands)

    with Spool() as spool:
        read(rows_of(chosen, [path], ADA, summary.stated), spool, summary, lambda more: None)
        if dry_run:
            await try_out(spool.calls(), decide, FIRST_INSTANT, summary, next_piece, may_grow=chosen.may_grow)
        else:
            begin = partial(ledger.commits.begin_reports, ledger.tenant)
            await book(spool.calls(), begin, FIRST_INSTANT, summary, next_piece, may_grow=chosen.may_grow)
    return summary


async def spent(ledger: Ledger) -> Any:
    return (await spend_by(ledger.database, ledger.tenant, "user", FIRST_INSTANT, LAST_INSTANT)).total


async def settled(ledger: Ledger) -> list[Any]:
    accounts = "select subject, window_start, settled_tokens, settled_nanos, settled_calls from accounts order by 1, 2"
    return [*await ledger.owner.fetch(accounts)]


async def counted(ledger: Ledger) -> int:
    counts = "select (select count(*) from usage_events) + (select count(*) from quarantine)"
    return int(await ledger.owner.fetchval(counts))


def cut(raw: bytes, number: int) -> bytes:
    """Return the first lines of a file, and half of the next one."""
    lines = raw.splitlines(keepends=True)
    return b"".join(lines[:number]) + lines[number][: len(lines[number]) // 2]


async def test_a_session_that_grows_comes_to_what_the_whole_one_does(
    ledger: Ledger, database_url: str, tmp_path: Path
) -> None:
    log, raw = tmp_path / "s.jsonl", bytes_of(GROWING)
    lines = raw.count(b"\n")
    corrected = 0
    for number in range(1, lines, 5):
        log.write_bytes(cut(raw, number))
        summary = await imported(ledger, log)
        assert not summary.quarantined
        corrected += summary.corrected
    log.write_bytes(raw)
    assert summary.rows <= lines
    last = await imported(ledger, log)
    assert last.rows == lines
    assert corrected + last.corrected >= 10, "the sample is to be cut within calls"
    in_pieces, on_accounts, before = await spent(ledger), await settled(ledger), await counted(ledger)

    for each in (log, log):
        await ledger.restart()
        again = await imported(ledger, each)
        assert (again.booked, again.corrected, again.quarantined, again.uses) == (0, 0, {}, {})
    assert await counted(ledger) == before

    async with open_ledger(database_url, "whole") as other:
        for window in (Window.DAY, Window.TOTAL):
            budget = administration.CreateBudget("k", b"x", window, (("user", "*"),), Limits(tokens=5_000), window)
            await other.ask(budget, outcomes.BudgetAnswer)
        whole = await imported(other, log)
        assert await spent(other) == in_pieces
        assert totals(whole.uses).cost_nanos == in_pieces.cost_nanos
        everything = await settled(ledger)
    assert sorted(map(tuple, everything)) == sorted(map(tuple, [*on_accounts, *on_accounts]))


@pytest.mark.parametrize("sample", CODEX, ids=lambda sample: sample.name)
def test_a_call_of_codex_is_never_read_unfinished(sample: Path, tmp_path: Path) -> None:
    def events(raw: bytes) -> dict[str, Any]:
        log = tmp_path / sample.name.removesuffix(".gz")
        log.write_bytes(raw)
        return {row.event["idempotency_key"]: row.event for row in _rows("codex", log) if isinstance(row, CallRow)}

    raw = bytes_of(sample)
    whole = events(raw)
    for number in range(1, raw.count(b"\n"), 7):
        early = events(cut(raw, number))
        assert early.items() <= whole.items()


def _rows(kind: str, path: Path) -> list[Any]:
    return list(rows_of(KINDS[kind], [path], ADA, StatedCosts()))


async def test_a_trial_shows_what_would_be_corrected(ledger: Ledger, tmp_path: Path) -> None:
    log = written(tmp_path / "s.jsonl", line(output=1), line("msg_2", "req_2", output=5, stop="end_turn"))
    await imported(ledger, log)
    written(log, line(output=1), line(output=301, stop="end_turn"), line("msg_2", "req_2", output=5, stop="end_turn"))

    trial = await imported(ledger, log, dry_run=True)
    assert (trial.booked, trial.duplicates, trial.corrected) == (0, 1, 1)
    assert (await spent(ledger)).output_tokens == 6

    assert await imported(ledger, log) == trial
    total = totals(trial.uses)
    assert (total.calls, total.input_tokens, total.output_tokens) == (0, 0, 300)
    assert (await spent(ledger)).output_tokens == 306
    assert (await spent(ledger)).calls == 2


async def test_what_has_less_or_as_much_is_known(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "s.jsonl"
    for output, stop, expected in (
        (50, None, "booked"), (20, None, "duplicates"), (50, "end_turn", "corrected"), (50, None, "duplicates"),
        (51, "end_turn", "corrected"), (50, "end_turn", "duplicates"), (51, "end_turn", "duplicates"),
    ):  # fmt: skip
        summary = await imported(ledger, written(log, line(output=output, stop=stop)))
        assert getattr(summary, expected) == summary.rows == 1, (output, stop, summary)
        total = await spent(ledger)
        assert (total.calls, total.output_tokens >= 50) == (1, True), (output, stop)
    kept = await ledger.owner.fetch(
        "select output_tokens, estimated, posted_at from usage_events as e where corrects is null and not exists"
        " (select from usage_events as c where c.corrects = e.event_id)"
    )
    assert [tuple(row)[:2] for row in kept] == [(51, False)]
    assert await ledger.owner.fetchval("select count(distinct posted_at) from usage_events") == 1


async def test_a_call_that_was_recorded_live_under_the_key_stays_as_it_is(ledger: Ledger) -> None:
    live = Record("msg_1", b"live", "claude-code", "dev", "openai", "gpt-5.4", Usage(10, 1), user="ada")
    await ledger.ask(live, outcomes.Recorded)
    later = replace(live, fingerprint=b"later", usage=Usage(10, 100), counts_since=FIRST_INSTANT, may_grow=True)
    conflict = await ledger.ask(later, outcomes.Quarantined)
    assert conflict.code == outcomes.Code.IDEMPOTENCY_CONFLICT


async def test_only_an_import_of_logs_corrects(ledger: Ledger) -> None:
    first = Record(
        "key", b"first", "elsewhere", "dev", "openai", "gpt-5.4", Usage(10, 1), user="ada", counts_since=FIRST_INSTANT
    )  # fmt: skip
    await ledger.ask(first, outcomes.Recorded)
    more = replace(first, fingerprint=b"more", usage=Usage(10, 100))
    for contradiction in (more, replace(more, counts_since=None), replace(more, may_grow=True, user="bob")):
        conflict = await ledger.ask(contradiction, outcomes.Quarantined)
        assert conflict.code == outcomes.Code.IDEMPOTENCY_CONFLICT
    corrected = await ledger.ask(replace(more, may_grow=True, key="key"), outcomes.Recorded)
    assert [each.usage.output_tokens for each in corrected.taken_back] == [-1]


async def test_what_an_admin_took_back_is_not_booked_by_a_later_reading(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "s.jsonl"
    await imported(ledger, written(log, line(output=1)))
    await imported(ledger, written(log, line(output=20)))
    events = await ledger.owner.fetch("select event_id, booked_at from usage_events where corrects is null")
    booked = tuple((row["event_id"], row["booked_at"]) for row in events)
    reversal = administration.Reverse("msg_1/req_1", b"x", "claude-code", booked, "a test", "root")
    await ledger.ask(reversal, outcomes.Reversed)
    assert (await spent(ledger)).calls == 0
    summary = await imported(ledger, written(log, line(output=300, stop="end_turn")))
    assert summary.quarantined == {"idempotency_conflict": 1}
    for output in (1, 20):  # what was read before is known
        assert (await imported(ledger, written(log, line(output=output)))).duplicates == 1
    assert (await spent(ledger)).calls == 0


async def test_a_copy_of_a_call_in_another_session_is_the_same_call(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "s.jsonl"
    await imported(ledger, written(log, line(output=20, stop="end_turn")))
    copied = await imported(ledger, written(log, line(output=20, stop="end_turn", sessionId="s2")))
    assert (copied.duplicates, copied.quarantined) == (1, {})


UNFINISHED = Record(
    "key", b"1", "claude-code", "dev", "openai", "gpt-5.4", Usage(10, 1), user="ada", counts_since=FIRST_INSTANT,
    may_grow=True,
)  # fmt: skip
"""A call without the id of a response, by which it would be found as well."""


async def test_a_later_reading_may_fall_on_other_accounts(ledger: Ledger) -> None:
    for window in (Window.DAY, Window.WEEK):
        budget = administration.CreateBudget(
            "k", b"x", f"agents {window}", (("agent_type", "*"),), Limits(tokens=5), window
        )
        await ledger.ask(budget, outcomes.BudgetAnswer)
    long_ago = await ledger.owner.fetchval("select now() - interval '40 days'")
    first = replace(UNFINISHED, occurred_at=long_ago)
    await ledger.ask(first, outcomes.Recorded)
    await ledger.restart()
    later = replace(first, fingerprint=b"2", usage=Usage(10, 5), agent_type="sub-agent")
    await ledger.ask(later, outcomes.Recorded)
    rows = await ledger.owner.fetch("select subject, settled_tokens from accounts where budget like 'agents%'")
    assert sorted((row["subject"], row["settled_tokens"]) for row in rows) == [
        ('{"agent_type":"dev"}', 0), ('{"agent_type":"dev"}', 0),
        ('{"agent_type":"sub-agent"}', 15), ('{"agent_type":"sub-agent"}', 15),
    ]  # fmt: skip


async def test_what_was_re_costed_or_reversed_of_an_earlier_reading_is_known(ledger: Ledger) -> None:
    hour_ago = await ledger.owner.fetchval("select now() - interval '1 hour'")
    first = replace(UNFINISHED, provider="house", model="late-priced", occurred_at=hour_ago)
    await ledger.ask(first, outcomes.Recorded)
    rates = {"base": {"input": "2", "output": "4"}}
    price = administration.SetPrice("k", b"x", "house", "late-priced", rates, check_rates(rates), "root", FIRST_INSTANT)
    await ledger.ask(price, outcomes.Changed)
    await ledger.restart()
    await recost_all(ledger)
    later = replace(first, fingerprint=b"2", usage=Usage(10, 5))
    corrected = await ledger.ask(later, outcomes.Recorded)
    assert len(corrected.taken_back) == 2
    assert (await spent(ledger)).cost_nanos == corrected.event.cost_nanos == 40_000

    [row] = await ledger.owner.fetch("select booked_at from usage_events where event_id = $1", corrected.event.event_id)
    booked = ((corrected.event.event_id, row["booked_at"]),)
    await ledger.ask(administration.Reverse("key", b"x", "claude-code", booked, "a test", "root"), outcomes.Reversed)
    await ledger.restart()
    await ledger.ask(replace(later, fingerprint=b"3", usage=Usage(10, 6)), outcomes.Quarantined)
    assert (await spent(ledger)).calls == 0


async def test_a_window_that_has_ended_meanwhile_counts_the_call_once(ledger: Ledger, tmp_path: Path) -> None:
    now = await ledger.owner.fetchval("select now()")
    log, at = tmp_path / "s.jsonl", (now - timedelta(seconds=1)).isoformat()
    await imported(ledger, written(log, line(output=1, timestamp=at)))
    assert await settled(ledger) == []
    await ledger.move_back(2)
    at = (now - timedelta(seconds=1, days=2)).isoformat()
    summary = await imported(ledger, written(log, line(output=300, stop="end_turn", timestamp=at)))
    assert summary.corrected == 1
    assert [(row["settled_tokens"], row["settled_calls"]) for row in await settled(ledger)] == [(423, 1)]


async def test_readings_beyond_the_last_are_kept(ledger: Ledger) -> None:
    first = Record(
        "key", b"1", "claude-code", "dev", "openai", "gpt-5.4", Usage(10, 1), user="ada", counts_since=FIRST_INSTANT,
        may_grow=True,
    )  # fmt: skip
    for output in range(1, 18):
        each = replace(first, fingerprint=str(output).encode(), usage=Usage(10, output))
        await ledger.ask(each, outcomes.Recorded)
    await ledger.ask(replace(first, fingerprint=b"18", usage=Usage(10, 18)), outcomes.Quarantined)
    again = await ledger.ask(replace(first, fingerprint=b"17", usage=Usage(10, 17)), outcomes.Recorded)
    assert again.replayed
    assert (await spent(ledger)).output_tokens == 17
