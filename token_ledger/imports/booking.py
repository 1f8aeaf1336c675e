"""Books the calls of an import, or tries out what booking them would come to.

Many calls wait for their batch at once, so an import takes what the ledger has left beside live traffic. A call that
was booked by an earlier import has the same key, so an import that was interrupted goes on when it is run again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice

from token_ledger.core.batch.commands import Command, Report
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.imports.alike import AlikeCalls
from token_ledger.imports.rows import CallRow, Place, Row, SkippedRow
from token_ledger.imports.spool import Spool
from token_ledger.imports.summary import Summary
from token_ledger.wire.commands.events import Commands, event_commands
from token_ledger.wire.problems import ProblemError

WAITING_CALLS = 1_024
"""How many calls wait at once: a batch is filled while two before it are decided and written."""
CALLS_OF_A_TRIAL = 256

Begin = Callable[[Sequence[Report]], "Sequence[asyncio.Future[Outcome]]"]
TryOut = Callable[[Sequence[Command]], Awaitable[Sequence[Outcome]]]
CALLS_OF_A_PIECE = 32
Progress = Callable[[int], None]
"""Told how many more rows were read."""
NextPiece = Callable[[int], Awaitable[None]]
"""Awaited after each piece of work, with how many calls it was: others may have their turn."""


def read(rows: Iterable[Row], spool: Spool, summary: Summary, progress: Progress) -> None:
    """Read all rows: count what is skipped, and put the calls into the spool. Raises UnreadableFile."""
    for row in rows:
        if isinstance(row, SkippedRow):
            summary.skip(row)
            progress(row.rows)
        else:
            spool.add(row)
            progress(1)


async def book(
    calls: Iterable[CallRow], begin: Begin, counts_since: datetime, summary: Summary, next_piece: NextPiece, *,
    may_grow: bool = False, waiting_calls: int = WAITING_CALLS,
) -> None:  # fmt: skip
    """Book calls and count what became of them; see `model.event.counts_on` for `counts_since`.

    `may_grow` says that calls may have been unfinished when they were imported before (see `ImportKind`). About
    `waiting_calls` wait for their batch at once.
    """
    waiting: deque[tuple[Place, list[asyncio.Future[Outcome]]]] = deque()

    async def finish(most_left: int) -> None:
        while len(waiting) > most_left:
            place, futures = waiting[0]
            outcomes = [await future for future in futures]
            waiting.popleft()
            summary.add(place, outcomes)

    following, alike = iter(calls), AlikeCalls(counts_since, may_grow=may_grow)
    try:
        while piece := [*islice(following, CALLS_OF_A_PIECE)]:
            read_calls = [(call.place, _commands_of(call, alike, summary)) for call in piece]
            if reports := [each for _, commands in read_calls for each in commands or ()]:
                begun = iter(begin(reports))
                waiting.extend((place, [*islice(begun, len(commands))]) for place, commands in read_calls if commands)
            await next_piece(len(piece))
            if len(waiting) >= waiting_calls:
                await finish(waiting_calls // 2)
        await finish(0)
    finally:
        for _, futures in waiting:
            for future in futures:
                future.cancel()


async def try_out(
    calls: Iterable[CallRow], decide: TryOut, counts_since: datetime, summary: Summary, next_piece: NextPiece, *,
    may_grow: bool = False,
) -> None:  # fmt: skip
    """Count what would become of calls if they were booked now, and book nothing."""
    following, alike = iter(calls), AlikeCalls(counts_since, may_grow=may_grow)
    while chosen := [*islice(following, CALLS_OF_A_TRIAL)]:
        read_calls = [(call.place, _commands_of(call, alike, summary)) for call in chosen]
        outcomes = iter(await decide([each for _, commands in read_calls for each in commands or ()]))
        for place, commands in read_calls:
            if commands is not None:
                summary.add(place, [*islice(outcomes, len(commands))])
        await next_piece(len(chosen))


def kept_since(now: datetime, retention_months: int | None) -> datetime:
    """Return the instant from which events are kept: imported calls from before count on no account."""
    if retention_months is None:
        return FIRST_INSTANT
    year, month = divmod(now.year * 12 + now.month - 1 - retention_months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _commands_of(call: CallRow, alike: AlikeCalls, summary: Summary) -> Commands | None:
    record = alike.record_of(call.event)
    if record is not None:
        return (record,)
    try:
        commands, _ = event_commands(call.event, "event", alike.counts_since, may_grow=alike.may_grow)
    except ProblemError as problem:
        summary.refuse(call.place, problem.code, problem.detail)
        return None
    return commands
