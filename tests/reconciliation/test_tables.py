"""A reconciliation as a spreadsheet has it: a column of dollars for each cause."""

from dataclasses import replace

from tests.reconciliation.sides import COST, USED, billed, booked, reconciled
from token_ledger.reconciliation.reasons import Cause, Reason
from token_ledger.reconciliation.tables import csv_rows


def test_a_cause_that_is_named_twice_is_added_up() -> None:
    found = reconciled([billed(COST)], [booked()])
    reasons = (Reason(Cause.SERVICE_TIER, 5, "a"), Reason(Cause.SERVICE_TIER, -1, "b"), Reason(Cause.FEES, 2))
    header, row = csv_rows(replace(found, cells=(replace(found.cells[0], reasons=reasons),)))
    said = dict(zip(header, row, strict=True))
    assert (said["service tier"], said["fees"], said["price"]) == ("0.000000004", "0.000000002", "")
    assert said["details"] == "service tier: a; service tier: b"
    assert (said["model"], said["billed_tokens"]) == ("big", str(USED.total_tokens))
