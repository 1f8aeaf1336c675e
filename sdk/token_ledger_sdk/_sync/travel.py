# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Sends requests of many callers together, and gives back what a caller was granted who has gone meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..errors import ApiError
from ..gathering import Departure, Gathering, Place
from ..spool.loads import Load
from ..waiting_sync import SignalSync, apart_sync
from ..wire.answers import Answer, NoAnswer
from ..wire.fields import Fields
from ..wire.requests import ApiRequest
from ..wire.together import MOST_OPERATIONS, answers_of, can_travel, list_request
from .outbox import Outbox

_MOST_ALONG = 64
"""So much of what waits goes along with a request: more would make it slow."""


class Travel:
    """Lets requests travel together where they can; `exchange` sends one and returns what came back.

    What waits in the outbox goes before them.

    Every caller has the outcome that its request would have by itself. Whoever is canceled leaves at once: its request
    goes on if it is on its way, and what it was granted is given back.
    """

    def __init__(
        self,
        exchange: Callable[[ApiRequest], Answer | NoAnswer],
        outbox: Outbox,
    ) -> None:
        self._exchange = exchange
        self._outbox = outbox
        self._gathering: Gathering[SignalSync] = Gathering()

    def send(self, request: ApiRequest) -> Answer | NoAnswer:
        """Send a request once, with others if there are any; returns what came back."""
        if not can_travel(request):
            return self._exchange(request)
        place = Place(request, SignalSync())
        try:
            return self._outcome(place)
        except BaseException as error:
            if not self._gathering.gone(place) and place.was_sent and _is_interruption(error):
                self._outbox.give_back(request, place.outcome)
            raise

    def _outcome(self, place: Place[SignalSync]) -> Answer | NoAnswer:
        departure = self._gathering.join(place)
        while place.outcome is None:
            is_late = False
            if departure is not None:
                apart_sync(partial(self._travel, departure))
            else:
                is_late = not place.signal.wait(self._gathering.patience_seconds(place))
            if place.outcome is None:
                departure = self._gathering.depart(place, anyway=is_late)
        return place.outcome

    def _travel(self, departure: Departure[SignalSync]) -> None:
        try:
            places = departure.places
            outcomes = self._exchange_all([place.request for place in places])
            for place, outcome in zip(places, outcomes, strict=True):
                if not self._gathering.arrived(place, outcome):
                    self._outbox.give_back(place.request, outcome)
        except BaseException as error:
            for place in self._gathering.broke_off(departure):
                if _is_interruption(error):
                    self._outbox.give_back(place.request)
            raise
        self._gathering.back(departure)

    def _exchange_all(self, requests: list[ApiRequest]) -> Sequence[Answer | NoAnswer | None]:
        """Return what came back for each request; None for each that must be sent by itself."""
        load = self._outbox.board(min(_MOST_ALONG, MOST_OPERATIONS - len(requests)))
        if load is not None:
            return self._exchange_after(load, requests)
        if len(requests) == 1:
            return [self._exchange(requests[0])]
        outcome = self._exchange(list_request(requests))
        if isinstance(outcome, NoAnswer):
            return [outcome] * len(requests)
        self._outbox.learn_tenant(outcome)
        return answers_of(outcome, len(requests)) or [None] * len(requests)

    def _exchange_after(self, load: Load, requests: list[ApiRequest]) -> Sequence[Answer | NoAnswer | None]:
        """Send requests after what waits in the outbox, in one list."""
        along = len(load.operations)
        has_arrived = False
        try:
            outcome = self._exchange(list_request(requests, load.operations))
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
