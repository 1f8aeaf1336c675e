"""Changes of the calendar: planned ones can be replaced, those in force or close can't."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.core.given import NOW, Ledger, sealed
from token_ledger.core.batch.administration import SetCalendar
from token_ledger.core.batch.outcomes import Changed
from token_ledger.core.model.window import CalendarRule

TOKYO, KATHMANDU = (CalendarRule(ZoneInfo(zone)) for zone in ("Asia/Tokyo", "Asia/Kathmandu"))
PLANNED = NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("minutes", "after", "standing"),
    [
        (0, 9, [KATHMANDU]),
        (0, 10, [KATHMANDU]),
        (0, 11, [TOKYO, KATHMANDU]),
        (4, None, [KATHMANDU]),
        (5, None, [KATHMANDU]),
        (6, None, [TOKYO, KATHMANDU]),
        (60, None, [TOKYO, KATHMANDU]),
    ],
)
def test_a_change_takes_the_place_of_those_planned_for_then_or_later(
    minutes: int, after: int | None, standing: list[CalendarRule]
) -> None:
    ledger = Ledger()
    ledger.one(sealed(SetCalendar("a", b"", TOKYO, "key:b", PLANNED)))
    ledger.at(NOW + timedelta(minutes=minutes))
    at = None if after is None else NOW + timedelta(minutes=after)
    assert isinstance(ledger.one(sealed(SetCalendar("b", b"", KATHMANDU, "key:b", at))), Changed)
    assert [rule for _, rule in ledger.books.config.calendar.changes] == standing
