"""The table of a hold's life, every state with every event."""

from dataclasses import replace

import pytest

from tests.core.given import Ledger
from token_ledger.core.reservation import HoldEvent, HoldState

EXPECTED = {
    ("held", "settle"): "settled", ("held", "release"): "released", ("held", "expire"): "expired",
    ("expired", "settle"): "settled", ("expired", "release"): None, ("expired", "expire"): None,
    ("settled", "settle"): None, ("settled", "release"): None, ("settled", "expire"): None,
    ("released", "settle"): None, ("released", "release"): None, ("released", "expire"): None,
}  # fmt: skip


@pytest.mark.parametrize("state", HoldState)
@pytest.mark.parametrize("event", HoldEvent)
def test_every_event_in_every_state(state: HoldState, event: HoldEvent) -> None:
    reservation = replace(Ledger().granted(), state=state)
    assert reservation.after(event) == EXPECTED[state.value, event.value]
    assert reservation.state is state
