"""Sends requests of many callers together, and gives back what a caller was granted who has gone meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from ..errors import ApiError
from ..gathering import Departure, Gathering, Place
from ..spool.loads import Load
from ..waiting_async import SignalAsync, apart_async
from ..wire.answers import Answer, NoAnswer
from ..wire.fields import Fields
from ..wire.requests import ApiRequest
from ..wire.together import MOST_OPERATIONS, answers_of, can_travel, list_request
from .outbox import AsyncOutbox

_MOST_ALONG = 64
"""So much of what waits goes along with a request: more would make it slow."""


class AsyncTravel:
    """Lets requests travel together where they can; `exchange` sends one and returns what came back.

    What waits in the outbox goes before them.

    Every caller has the outcome that its request would have by itself. Whoever is canceled leaves at once: its request
    goes on if it is on its way, and what it was granted is given back.
    """

    def __init__(
        self,
        exchange: Callable[[ApiRequest], Awaitable[Answer | NoAnswer]],
        outbox: AsyncOutbox,
    ) -> None:
        self._exchange = exchange
        self._outbox = outbox
        self._gathering: Gathering[SignalAsync] = Gathering()

    async def send(self, request: ApiRequest) -> Answer | NoAnswer:
        """Send a request once, with others if there are any; returns what came back."""
        if not can_travel(request):
            return await self._exchange(request)
        place = Place(request, SignalAsync())
        try:
            return await self._outcome(place)
        except BaseException as error:
            if not self._gathering.gone(place) and place.was_sent and _is_interruption(error):
                self._outbox.give_back(request, place.outcome)
            raise

    async def _outcome(self, place: Place[SignalAsync]) -> Answer | NoAnswer:
        departure = self._gathering.join(place)
        while place.outcome is None:
            is_late = False
            if departure is not None:
                await apart_async(partial(self._travel, departure))
            else:
                is_late = not await place.signal.wait(self._gathering.patience_seconds(place))
            if place.outcome is None:
                departure = self._gathering.depart(place, anyway=is_late)
        return place.outcome

    async def _travel(self, departure: Departure[SignalAsync]) -> None:
        try:
            places = departure.places
            outcomes = await self._exchange_all([place.request for place in places])
            for place, outcome in zip(places, outcomes, strict=True):
                if not self._gathering.arrived(place, outcome):
                    self._outbox.give_back(place.request, outcome)
        except BaseException as error:
            for place in self._gathering.broke_off(departure):
                if _is_interruption(error):
                    self._outbox.give_back(place.request)
            raise
        self._gathering.back(departure)

    async def _exchange_all(self, requests: list[ApiRequest]) -> Sequence[Answer | NoAnswer | None]:
        """Return what came back for each request; None for each that must be sent by itself."""
        load = self._outbox.board(min(_MOST_ALONG, MOST_OPERATIONS - len(requests)))
        if load is not None:
            return await self._exchange_after(load, requests)
        if len(requests) == 1:
            return [await self._exchange(requests[0])]
        outcome = await self._exchange(list_request(requests))
        if isinstance(outcome, NoAnswer):
            return [outcome] * len(requests)
        self._outbox.learn_tenant(outcome)
        return answers_of(outcome, len(requests)) or [None] * len(requests)

    async def _exchange_after(self, load: Load, requests: list[ApiRequest]) -> Sequence[Answer | NoAnswer | None]:
        """Send requests after what waits in the outbox, in one list."""
        along = len(load.operations)
        has_arrived = False
        try:
            outcome = await self._exchange(list_request(requests, load.operations))
            if isinstance(outcome, NoAnswer):
                return [outcome] * len(requests)
            answers = answers_of(outcome, along + len(requests))
            if answers is None or not outcome.is_good:
                return answers[along:] if answers is not None else [None] * len(requests)
            has_arrived = True
            self._outbox.learn_tenant(outcome)
            self._outbox.loads.arrived(load, [_result(answer) for answer in answers[:along]])
            return answers[along:]
        finally:
            if not has_arrived:
                self._outbox.stranded(load)

    def close(self) -> None:
        """Let what was granted to callers who have gone be given back with what the outbox sends last."""
        for request in self._gathering.given_up():
            self._outbox.give_back(request)


def _result(answer: Answer) -> Fields | ApiError:
    try:
        return answer.read()
    except ApiError as error:
        return error


def _is_interruption(error: BaseException) -> bool:
    """Whether an exception is none of the exchange, and leaves something running that can still send."""
    return not isinstance(error, (Exception, GeneratorExit))
