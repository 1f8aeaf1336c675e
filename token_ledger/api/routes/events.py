"""Routes of events: what happened without a hold. Each of a list has a result of its own."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from token_ledger.api import problem_responses
from token_ledger.api.access import Caller
from token_ledger.api.service import service_of
from token_ledger.core.batch.outcomes import Code, Outcome, Quarantined, Recorded
from token_ledger.core.model.principal import Principal
from token_ledger.imports.booking import kept_since
from token_ledger.ledger.errors import LedgerError, Unstorable
from token_ledger.ledger.turns import PIECES_OF_A_LIST
from token_ledger.runtime import Service
from token_ledger.wire.answers import events as answers
from token_ledger.wire.bodies.events import EventsBody, UsageEventsBody
from token_ledger.wire.commands.events import Commands, event_commands
from token_ledger.wire.problems import ProblemError, problem_of

router = APIRouter(prefix="/v1", tags=["events"])

EVENTS_OF_A_TURN = 32
"""How many events of a list are read in one turn; each takes about 30 microseconds."""


@router.post("/usage", response_model=answers.EventResults)
async def report_usage(request: Request, caller: Caller, body: UsageEventsBody) -> Response:
    """Report calls of models and tools, and cache hits.

    For what was done without asking: imports, tools, answers from a cache, clients that could not reach the service,
    and scripts, which can send a provider's response as it came. Each event is booked or refused for itself, and has a
    result of its own. What cannot be booked is kept in quarantine.
    """
    return _response(await record_events(service_of(request), caller, body.events))


@router.post("/events", response_model=answers.EventResults)
async def report_events(request: Request, caller: Caller, body: EventsBody) -> Response:
    """Book calls that had no hold.

    The same as `/v1/usage`, for up to 256 events.
    """
    return _response(await record_events(service_of(request), caller, body.events))


def _response(results: list[answers.EventAnswer]) -> Response:
    # A list has up to 1,000 results, which FastAPI would check against their type before it writes them.
    return Response(to_json({"results": results}), media_type="application/json")


@dataclass(slots=True)
class _Reported:
    """An event that was sent: its commands and what they wait for, or its problem; `at_fault` is the field at fault."""

    commands: Commands = ()
    at_fault: str | None = None
    problem: ProblemError | None = None
    waiting: Sequence["asyncio.Future[Outcome]"] = ()


async def record_events(service: Service, caller: Principal, events: Sequence[Any]) -> list[answers.EventAnswer]:
    """Book events, or keep them in quarantine, and return what became of each; a few begin in each turn."""
    caller, since = replace(caller, request=object()), _spooled_since(service)
    reported: list[_Reported] = []
    try:
        async with service.turns.one_list(caller.tenant):
            for piece in _pieces(events):
                if reported:
                    await service.turns.take(caller.tenant, PIECES_OF_A_LIST)
                read = [
                    _read(event, f"events.{place}", since) for place, event in enumerate(piece, start=len(reported))
                ]
                reported += read
                _begin(service, caller, read)
        for each in reported:
            for future in each.waiting:
                if not future.done():
                    await asyncio.wait([future])
        return [_result(each) for each in reported]
    finally:
        for each in reported:
            for future in each.waiting:
                future.cancel()


def _pieces(events: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the events that begin in one turn: a few, and none after a stream, which takes as long as many."""
    piece: list[Any] = []
    for event in events:
        piece.append(event)
        is_stream = isinstance(event, dict) and isinstance(event.get("body"), list | str)
        if is_stream or len(piece) == EVENTS_OF_A_TURN:
            yield piece
            piece = []
    if piece:
        yield piece


def _begin(service: Service, caller: Principal, reported: Sequence[_Reported]) -> None:
    """Let the commands of events wait for their batch."""
    commands = [command for each in reported for command in each.commands]
    if commands:
        outcomes = iter(service.begin_reports(caller.tenant, commands, caller.key_id, caller.request))
        for each in reported:
            each.waiting = [*islice(outcomes, len(each.commands))]


def _spooled_since(service: Service) -> datetime:
    """Return from when on there are accounts for calls that have waited in spools."""
    return kept_since(datetime.now(UTC), service.settings.retention_months)


def _read(event: Any, within: str, spooled_since: datetime) -> _Reported:
    try:
        return _Reported(*event_commands(event, within, spooled_since=spooled_since))
    except ProblemError as problem:
        return _Reported(problem=problem)


def _result(reported: _Reported) -> answers.EventAnswer:
    try:
        return _answer(reported)
    except ProblemError as problem:
        return answers.unbooked_event_answer(problem)
    except Unstorable as error:
        return answers.unbooked_event_answer(problem_responses.problem_of(error))


async def record_piece(
    service: Service, caller: Principal, events: Sequence[tuple[Any, str]]
) -> list[answers.EventAnswer | ProblemError | LedgerError]:
    """Book a few events, or keep them in quarantine; return the answers, in order.

    Each comes with where it stands in the request. Where one conflicts, or nothing is kept of it, its answer is the
    problem. Raises NoRoom if there is none for all of them.
    """
    since = _spooled_since(service)
    reported = [_read(event, within, since) for event, within in events]
    _begin(service, caller, reported)
    try:
        for each in reported:
            for future in each.waiting:
                if not future.done():
                    await asyncio.wait([future])
    finally:
        for each in reported:
            for future in each.waiting:
                future.cancel()
    return [_answer_or_problem(each) for each in reported]


def _answer_or_problem(reported: _Reported) -> answers.EventAnswer | ProblemError | LedgerError:
    try:
        return _answer(reported)
    except (ProblemError, LedgerError) as problem:
        return problem


def _answer(reported: _Reported) -> answers.EventAnswer:
    if reported.problem is not None:
        raise reported.problem
    whole, *others = [future.result() for future in reported.waiting]
    if isinstance(whole, Quarantined) and whole.code == Code.IDEMPOTENCY_CONFLICT:
        raise problem_of(whole)
    if not isinstance(whole, Recorded | Quarantined):
        raise problem_of(whole)
    booked = [other.event for other in others if isinstance(other, Recorded)]
    return answers.event_answer(whole, reported.at_fault, booked)
