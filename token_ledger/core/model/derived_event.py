"""Owns what an event is like that is made of another one: a correction, a re-costing.

It has the facts and the instant of the other, and the accounts that have by now what is on those of the other; no hold,
no key. A re-costing is stored by a copy in the database (see `storage.write.recostings`), so a batch only notes what is
its own.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from token_ledger.core.model.charge import OtherUse
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Usage


def derived_event(event: UsageEvent, event_id: int, path: list[int], **changes: Any) -> UsageEvent:
    """Return a new event that is about what another one is about; `changes` are what it books instead."""
    return replace(
        event,
        event_id=event_id,
        reservation_id=None,
        path=path,
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


class RecostedEvent(NamedTuple):
    """What the re-costing of an event is stored with; all else is as in the event, which was booked at `booked_at`."""

    event_id: int
    recosted: UsageEvent
    booked_at: datetime
    path: list[int]
    cost_nanos: int
    price_id: int
    discount_id: int | None
    list_price_id: int | None
    list_cost_nanos: int | None
    others: tuple[OtherUse, ...]

    @property
    def as_event(self) -> UsageEvent:
        """The re-costing as it stands in the journal."""
        return derived_event(
            self.recosted,
            self.event_id,
            self.path,
            usage=Usage(),
            cost_nanos=self.cost_nanos,
            price_id=self.price_id,
            discount_id=self.discount_id,
            list_price_id=self.list_price_id,
            list_cost_nanos=self.list_cost_nanos,
            calls=0,
            unpriced=False,
            recosts=self.recosted.event_id,
            others=self.others,
            details=None,
        )
