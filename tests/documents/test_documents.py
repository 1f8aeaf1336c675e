"""What ARCHITECTURE.md shows of the code is what the code says."""

from tests.documents.__main__ import PAGE, picture, refusals, written
from token_ledger.core.outcomes import Code
from token_ledger.core.reservation import TRANSITIONS


def test_the_page_is_up_to_date() -> None:
    assert written(PAGE.read_text()) == PAGE.read_text()


def test_the_picture_shows_every_transition() -> None:
    drawn = picture()
    for state, events in TRANSITIONS.items():
        assert f"    {state.value}" in drawn
        for event, target in events.items():
            assert event.value in drawn
            assert target is state or f"▶ {target.value}" in drawn
    assert drawn.count("▶") == sum(target is not state for state, to in TRANSITIONS.items() for target in to.values())


def test_the_table_shows_every_code() -> None:
    assert all(f"`{code}`" in refusals() for code in Code)
