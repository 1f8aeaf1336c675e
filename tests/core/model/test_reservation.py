"""The table of a hold's life, every state with every event."""

from dataclasses import replace

import pytest

from tests.core.given import Ledger
from token_ledger.core.model.reservation import HoldEvent, HoldState

EXPECTED: dict[str, dict[str, str | None]] = {
    "held": {
        "draw": "held", "extend": "held", "settle": "settled", "release": "released", "expire": "expired",
        "force": "expired",
    },
    "expired": {
        "draw": "expired", "extend": None, "settle": "settled", "release": None, "expire": None, "force": None,
    },
    "settled": dict.fromkeys(("draw", "extend", "settle", "release", "expire", "force")),
    "released": dict.fromkeys(("draw", "extend", "settle", "release", "expire", "force")),
}  # fmt: skip


@pytest.mark.parametrize("state", HoldState)
@pytest.mark.parametrize("event", HoldEvent)
def test_every_event_in_every_state(state: HoldState, event: HoldEvent) -> None:
    reservation = replace(Ledger().granted(), state=state)
    assert reservation.after(event) == EXPECTED[state.value][event.value]
    assert reservation.state is state
