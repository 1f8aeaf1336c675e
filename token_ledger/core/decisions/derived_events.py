"""Decides what an event is like that is made of another one: a correction, a re-costing.

It has the facts, the instant and the accounts of the other, wherever what was on these has gone since; no hold, no key.
"""

from dataclasses import replace
from typing import Any

from token_ledger.core.batch.books import Books
from token_ledger.core.model.event import UsageEvent


def derived_event(books: Books, event: UsageEvent, **changes: Any) -> UsageEvent:
    """Return a new event that is about what another one is about; `changes` are what it books instead."""
    return replace(
        event,
        event_id=books.new_id(),
        reservation_id=None,
        path=books.located(event.path, event.event_id),
        overrun=False,
        late=False,
        original_input_tokens=None,
        part=False,
        held_path=None,
        repetition=None,
        earlier_event_id=None,
        source="",
        key="",
        fingerprint=b"",
        **changes,
    )
