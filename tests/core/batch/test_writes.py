"""Tests of what a batch changes: whether it is ordinary, so that rare writes need not be looked for."""

from datetime import UTC, datetime

from token_ledger.core.batch.rollup_keys import RollupKey
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.audit import AuditEntry


def test_a_batch_that_only_books_is_ordinary() -> None:
    writes = Writes()
    hour = datetime(2026, 1, 1, tzinfo=UTC)
    writes.rollups[RollupKey(hour, hour, "", "", "", "", "")] = [1]

    assert writes.is_ordinary
    assert not writes.stands_alone


def test_fields_that_were_only_read_leave_a_batch_ordinary() -> None:
    """Reading a field makes it, so its name alone does not say that it was changed."""
    writes = Writes()
    assert not any((writes.new_grants, writes.corrections, writes.audit))

    assert writes.is_ordinary
    assert not writes.stands_alone


def test_any_other_change_makes_a_batch_no_ordinary_one() -> None:
    writes = Writes()
    writes.stops.append("a runaway run")

    assert not writes.is_ordinary
    assert writes.stands_alone
    assert not writes.leaves_accounts_known


def test_an_entry_in_the_audit_log_alone_leaves_the_accounts_known() -> None:
    writes = Writes()
    writes.audit.append(AuditEntry(1, "root", "calls.recost", "house/chat", None, {}))

    assert writes.stands_alone
    assert writes.leaves_accounts_known
