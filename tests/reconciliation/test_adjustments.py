"""What is booked of a reconciliation: the difference of every cell once, and nothing where it would be wrong."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.reconciliation.sides import CHEAP, COST, DAY, NEW, NOON, billed, booked, reconciled, shifted
from token_ledger.core.batch.commands import Record
from token_ledger.core.model.details import Kind
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.adjustments import adjustments_of, commands_of
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.compare import Reconciliation
from token_ledger.reports.utc_usage import COST_CENTER, UtcUsage

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


def test_what_a_bill_has_less_is_taken_off_after_what_it_has_more_is_added() -> None:
    lines = [billed(COST - CENT), billed(COST + CENT, begin=DAY + timedelta(days=1))]
    found = reconciled(lines, [booked(), booked(begin=NOON + timedelta(days=1))])
    assert amounts(found) == [("big", CENT), ("big", -CENT)]


def test_a_credit_and_calls_that_are_not_billed_are_taken_off() -> None:
    lines = [billed(COST), fee(-CENT)]
    rows = [booked(), booked(begin=NOON, model="small", price=CHEAP)]
    assert amounts(reconciled(lines, rows)) == [("small", -rows[1].nanos), ("web search", -CENT)]


def test_what_the_ledger_counted_by_the_piece_and_no_line_has_is_taken_off_the_model() -> None:
    row = booked(nanos=COST + 3 * CENT, unit_nanos=3 * CENT)
    assert amounts(reconciled([billed(COST), fee(2 * CENT)], [row])) == [("big", -CENT)]


def applied(found: Reconciliation) -> list[UtcUsage]:
    """Return the rows of the ledger that the adjustments of a bill become."""
    return [
        replace(
            booked(Usage()), begin=NOON + (each.key.day - DAY.date()), provider=each.key.provider, model=each.key.model,
            item=each.key.item, project=each.key.project or None, is_adjustment=True, nanos=each.nanos, events=1,
            list_nanos=each.nanos, price_id=0,
        )
        for each in adjustments_of(found)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_after_any_bill_was_booked_nothing_is_left_to_book_and_a_newer_one_books_the_rest(seed: int) -> None:
    chosen = random.Random(seed)
    rows = [
        booked(
            Usage(chosen.randrange(1, 10**6), chosen.randrange(10**5)), price=chosen.choice((NEW, CHEAP)),
            begin=NOON + timedelta(days=chosen.randrange(3)), project=chosen.choice((None, "web")),
        )
        for _ in range(chosen.randrange(6))
    ]  # fmt: skip
    rows = [
        replace(row, nanos=row.nanos + pieces, list_nanos=row.nanos + pieces, unit_nanos=pieces)
        for row in rows
        for pieces in [chosen.choice((0, 0, chosen.randrange(5 * CENT)))]
    ]
    for _ in range(3):
        lines = [_any_line(chosen) for _ in range(chosen.randrange(1, 8))]
        found = reconciled(lines, rows)
        if any(found.offsets.values()) or not any(line.amount.nanos for line in lines):
            return
        rows += applied(found)
        after = reconciled(lines, rows)
        assert amounts(after) == []
        assert abs(sum(cell.difference_nanos for cell in after.cells)) <= len(after.cells) * (CENT // 2 + 1_000)


def _any_line(chosen: random.Random) -> BillLine:
    begin = DAY + timedelta(days=chosen.randrange(3))
    nanos = chosen.choice((chosen.randrange(3 * COST), -chosen.randrange(COST), CENT))
    project = chosen.choice((None, "web"))
    if chosen.random() < 0.4:
        return fee(nanos, begin=begin, project=project)
    usage = chosen.choice((NO_TOKENS, Usage(chosen.randrange(1, 10**6), chosen.randrange(10**5))))
    return billed(nanos, usage, model=chosen.choice(("big", "small")), begin=begin, project=project)


def test_a_bill_that_comes_back_is_booked_again() -> None:
    """Of 2, of 3 and of 2 dollars again: each is what the ledger has afterwards."""
    rows, keys = [booked()], set[str]()
    for cents in (0, 7, 0, 7):
        found = reconciled([billed(COST + cents * CENT, NO_TOKENS)], rows)
        commands = commands_of(adjustments_of(found), "x", NOW, DAY, None)
        assert not keys & {command.key for command in commands}
        keys.update(command.key for command in commands)
        rows += applied(found)
        assert sum(row.nanos for row in rows) == COST + cents * CENT
    assert len(keys) == 3


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
