"""When calls on leases ask the service, and what an outage of it changes."""

from __future__ import annotations

import pytest

from token_ledger_sdk.leases.lease_outage import Contact


def contact(*, away: bool, tried: float = 100.0, in_background: bool = True) -> Contact:
    """Return a contact at second 160."""
    return Contact(160.0, tried, away, in_background)


@pytest.mark.parametrize(("heard", "stale"), [(159.5, False), (159.4, True)])
def test_a_lease_is_stale_once_a_stop_may_have_been_missed(heard: float, stale: bool) -> None:
    assert contact(away=False).is_stale(heard, 0.5) is stale


def test_during_an_outage_calls_do_not_wait_for_the_service() -> None:
    assert not contact(away=True).is_stale(100.0, 0.5)
    assert not contact(away=True, tried=159.5, in_background=False).is_stale(100.0, 0.5)
    trying = contact(away=True, tried=159.4, in_background=False)
    assert trying.is_stale(100.0, 0.5), "without a background somebody must try"
