"""When calls on leases ask the service, and what an outage of it changes."""

from __future__ import annotations

import pytest

from token_ledger_sdk.leases.lease_outage import is_stale


def stale(*, heard: float = 100.0, away: bool, tried: float = 100.0, in_background: bool = True) -> bool:
    """Whether a lease is stale at second 160, where half a second without an answer is borne."""
    return is_stale(160.0, heard=heard, tried=tried, flush_seconds=0.5, is_away=away, in_background=in_background)


@pytest.mark.parametrize(("heard", "missed"), [(159.5, False), (159.4, True)])
def test_a_lease_is_stale_once_a_stop_may_have_been_missed(heard: float, missed: bool) -> None:
    assert stale(heard=heard, away=False) is missed


def test_during_an_outage_calls_do_not_wait_for_the_service() -> None:
    assert not stale(away=True)
    assert not stale(away=True, tried=159.5, in_background=False)
    assert stale(away=True, tried=159.4, in_background=False), "without a background somebody must try"
