"""Decides whether a report is about a response that was reported before, under another key or on another hold."""

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Settle
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import MOST_CALLS, NOT_COMPARED, Repetition, tells_responses_apart
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.usage import Usage

Found = tuple[Repetition | None, UsageEvent | None]
"""What a response id says of a call, and the earlier call that it leads to."""

NOTHING: Found = None, None


def find_earlier(
    books: Books, response_id: str, facts: CallFacts, usage: Usage, *, on_hold: bool, besides: int | None = None
) -> Found:  # fmt: skip
    """Return what the response id of a whole call says of it; `on_hold` tells whether the call has one.

    A call that was taken back is none, nor is `besides`, which is about to be. One that was reported without a hold
    gives way to the settle of a hold.
    """
    if not books.config.finds_duplicates:
        return NOTHING
    if not tells_responses_apart(facts.provider, response_id):
        return Repetition.NOT_UNIQUE, None
    known = books.loaded.responses.get(response_id)
    if not known:
        return Repetition.FIRST, None
    if len(known) > MOST_CALLS:
        return Repetition.NOT_UNIQUE, None
    name = _current_name(books, facts)
    corrected = books.loaded.corrected
    calls = [each for _, each in sorted(known.items()) if _current_name(books, each.facts) == name]
    calls = [each for each in calls if each.event_id not in corrected and each.event_id != besides]
    if not calls:
        return Repetition.FIRST, None
    same = next((each for each in calls if _is_used(each, usage)), None)
    if same is None:
        return Repetition.OTHER_USAGE, calls[0]
    if on_hold and same.reservation_id is None:
        return Repetition.REPLACES, same
    return Repetition.DUPLICATE, same


def _is_used(event: UsageEvent, usage: Usage) -> bool:
    """Tell whether a call was booked with this usage; a fee of the call itself was added to what was reported."""
    if event.usage.counts != usage.counts:
        return False
    booked = {use.kind: use.count for use in event.others if use.kind != NOT_COMPARED}
    return booked == {kind: count for kind, count in usage.others if kind != NOT_COMPARED}


def is_whole(command: Settle, reservation: Reservation) -> bool:
    """Tell whether a report is about a whole call: parts of one have the same response id, and each its own usage."""
    return reservation.lease or not (command.part or reservation.drawn_use)


def _current_name(books: Books, facts: CallFacts) -> ModelName:
    """Return what the model of a call is in the books now."""
    name = ModelName(facts.provider, facts.model)
    return books.config.renamed.get(name, name)
