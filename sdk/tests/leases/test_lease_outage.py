"""When ended calls are sent, and what an outage of the service changes."""

from __future__ import annotations

from token_ledger_sdk.leases.lease_outage import FLUSH_AT_CALLS, RETRY_SECONDS, Contact


class Clock:
    """A monotonic clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def contact_after(seconds: float, *, away: bool, flush_seconds: float = 0.5) -> Contact:
    """Return a contact that was last tried so many seconds ago."""
    clock = Clock()
    contact = Contact(flush_seconds, clock)
    if away:
        contact.failed()
    else:
        contact.answered()
    clock.now += seconds
    return contact


def test_calls_are_sent_after_half_the_interval_and_slower_during_an_outage() -> None:
    assert contact_after(0, away=False).pause_seconds == 0.25
    assert contact_after(0, away=True).pause_seconds == RETRY_SECONDS
    assert contact_after(0, away=True, flush_seconds=7.0).pause_seconds == 7.0


def test_a_lease_is_stale_once_a_stop_may_have_been_missed() -> None:
    assert not contact_after(0.5, away=False).is_stale(100.0, in_background=True)
    assert contact_after(0.6, away=False).is_stale(100.0, in_background=True)


def test_during_an_outage_calls_do_not_wait_for_the_service() -> None:
    assert not contact_after(60, away=True).is_stale(100.0, in_background=True)
    assert not contact_after(0.5, away=True).is_stale(90.0, in_background=False)
    assert contact_after(0.6, away=True).is_stale(90.0, in_background=False), "without a background somebody must try"


def test_an_answer_ends_an_outage() -> None:
    contact = contact_after(60, away=True)
    assert contact.answered() == 160.0
    assert not contact.is_away
    assert contact.pause_seconds == 0.25


def test_many_ended_calls_are_sent_at_once_unless_the_service_is_away() -> None:
    assert contact_after(0, away=False).is_due(FLUSH_AT_CALLS, in_background=True)
    assert not contact_after(0, away=False).is_due(FLUSH_AT_CALLS - 1, in_background=True)
    assert not contact_after(0, away=True).is_due(FLUSH_AT_CALLS, in_background=True)


def test_without_a_background_whoever_ends_a_call_sends_it_in_time() -> None:
    assert not contact_after(0.4, away=False).is_due(1, in_background=False)
    assert contact_after(0.5, away=False).is_due(1, in_background=False)


def test_an_error_that_is_no_outage_only_delays_the_next_try() -> None:
    contact = contact_after(60, away=False)
    contact.tried()
    assert not contact.is_away
    assert not contact.is_due(1, in_background=False)
