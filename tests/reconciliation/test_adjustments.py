"""What is booked of a reconciliation: the difference of every cell once, and nothing where it would be wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.reconciliation.sides import COST, DAY, NOON, billed, booked, reconciled, shifted
from token_ledger.core.batch.commands import Record
from token_ledger.core.model.details import Kind
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.adjustments import adjustments_of, commands_of
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.compare import Reconciliation
from token_ledger.reports.utc_usage import COST_CENTER

CENT = 10_000_000
NOW = NOON + timedelta(days=30)
NO_TOKENS = Usage()


def fee(nanos: int, **changes: object) -> BillLine:
    return replace(billed(nanos, NO_TOKENS), model=None, item="web search", **changes)  # type: ignore[arg-type]


def amounts(found: Reconciliation) -> list[tuple[str, int]]:
    return [(each.key.model or each.key.item, each.nanos) for each in adjustments_of(found)]


def test_what_a_bill_has_more_is_booked_but_for_rounding() -> None:
    lines = [billed(COST + 7 * CENT, NO_TOKENS), billed(COST + 3, begin=DAY + timedelta(days=1), bound=4)]
    assert amounts(reconciled(lines, [booked(), booked(begin=NOON + timedelta(days=1))])) == [("big", 7 * CENT)]


def test_less_by_rounding_is_no_reason_to_refuse() -> None:
    assert amounts(reconciled([billed(COST - 3, bound=4), fee(CENT)], [booked()])) == [("web search", CENT)]


def test_what_the_ledger_counted_by_the_piece_is_taken_off_the_lines_of_the_day() -> None:
    row = booked(nanos=COST + 3 * CENT, unit_nanos=3 * CENT)
    assert amounts(reconciled([billed(COST), fee(5 * CENT)], [row])) == [("web search", 2 * CENT)]
    assert amounts(reconciled([billed(COST), fee(3 * CENT)], [row])) == []
    others = [fee(2 * CENT), replace(fee(2 * CENT), item="file search")]
    assert sum(nanos for _, nanos in amounts(reconciled([billed(COST), *others], [row]))) == CENT


def test_more_in_the_ledger_refuses_all() -> None:
    lines = [billed(COST - CENT), billed(COST + CENT, begin=DAY + timedelta(days=1))]
    found = reconciled(lines, [booked(), booked(begin=NOON + timedelta(days=1))])
    with pytest.raises(ValueError, match=r"on 2026-11-02 the ledger has 0.010000000 dollars more than the bill"):
        adjustments_of(found)


def test_days_of_another_zone_refuse_all() -> None:
    with pytest.raises(ValueError, match="export it in UTC"):
        adjustments_of(reconciled(*shifted(-8)))


def of_a_day(booked_nanos: int, project_tag: str | None) -> list[Record]:
    lines = [billed(COST + CENT, NO_TOKENS, project="web"), fee(CENT, project="web")]
    found = reconciled(lines, [booked(nanos=booked_nanos, project="web")])
    return commands_of(adjustments_of(found), "November", NOW, DAY, project_tag)


def test_an_adjustment_says_of_what_it_is() -> None:
    model, item = of_a_day(COST, "team")
    assert (model.provider, model.model, model.cost_nanos, model.usage) == ("openai", "big", CENT, NO_TOKENS)
    assert (model.event_kind, model.occurred_at, model.counts_since) == (Kind.TOOL_CALL, NOON, DAY)
    assert model.tags == (("bill", "openai"), ("reason", "November"), ("team", "web"))
    assert (item.provider, item.model, dict(item.tags)["item"]) == ("", "", "web search")
    assert [each.cost_center for each in of_a_day(COST, COST_CENTER)] == ["web", "web"]


def test_an_adjustment_is_the_same_command_until_the_ledger_changes() -> None:
    assert of_a_day(COST, None) == of_a_day(COST, None)
    assert of_a_day(COST, None)[0].key != of_a_day(COST - 1, None)[0].key


def test_today_is_booked_now() -> None:
    found = adjustments_of(reconciled([billed(COST, NO_TOKENS)], []))
    (command,) = commands_of(found, "x", DAY + timedelta(hours=3), DAY, None)
    assert command.occurred_at == DAY + timedelta(hours=3)
