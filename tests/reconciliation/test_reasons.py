"""Made-up bills whose causes are known: each alone, several together, none."""

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest

from tests.reconciliation.sides import (
    BOOK,
    CHEAP,
    COST,
    DAY,
    NEW,
    NOON,
    OLD,
    USED,
    billed,
    booked,
    causes,
    cost,
    reconciled,
    shifted,
    the_cell,
)
from token_ledger.core.model.price import ModelPrices, PriceBook
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.compare import compare

CENT = 10_000_000
MORE = Usage(50_000, 5_000, 20_000)


def plus(usage: Usage, other: Usage) -> Usage:
    return Usage(*(one + two for one, two in zip(usage.counts, other.counts, strict=True)))


def test_the_same_has_no_reason() -> None:
    cell = the_cell([billed(COST)], [booked()])
    assert (cell.difference_nanos, cell.capture_rate, cell.reasons) == (0, Fraction(1), ())


def test_untracked_calls() -> None:
    more = plus(USED, MORE)
    cell = the_cell([billed(cost(more), more)], [booked()])
    assert causes(cell) == {"untracked calls": cost(MORE)}
    assert cell.capture_rate == Fraction(1_100_000, 1_155_000)


def test_a_model_that_the_ledger_never_saw_is_untracked() -> None:
    cell = the_cell([billed(CENT, MORE, model="Other")], [])
    assert causes(cell) == {"untracked calls": CENT}
    assert (cell.key.model, cell.capture_rate) == ("other", Fraction())


def test_calls_the_bill_does_not_have() -> None:
    cell = the_cell([billed(cost(USED))], [booked(plus(USED, MORE))])
    assert causes(cell) == {"calls the bill does not have": -cost(MORE)}


def test_a_model_that_is_not_on_the_bill() -> None:
    other, same = reconciled([billed(COST)], [booked(), booked(MORE, CHEAP)]).cells[::-1]
    assert (other.key.model, same.key.model) == ("small", "big")
    assert causes(other) == {"calls the bill does not have": -cost(MORE, CHEAP)}
    assert (other.capture_rate, same.reasons) == (None, ())


def test_other_tokens_of_both_kinds() -> None:
    fewer_output, more_input = Usage(1_100_000, 90_000, 400_000), Usage(100_000)
    cell = the_cell([billed(cost(fewer_output), fewer_output)], [booked()])
    assert causes(cell) == {
        "untracked calls": cost(more_input), "calls the bill does not have": -cost(Usage(0, 10_000)),
    }  # fmt: skip


@pytest.mark.parametrize(("tier", "factor"), [("batch", Fraction(1, 2)), ("priority", Fraction(2))])
def test_a_service_tier_that_the_bill_does_not_say(tier: str, factor: Fraction) -> None:
    cell = the_cell([billed(int(COST * factor))], [booked()])
    assert causes(cell) == {"service tier": int(COST * factor) - COST}
    assert cell.reasons[0].detail == f"{tier} instead of standard"


def test_a_ledger_that_took_calls_for_a_batch() -> None:
    cell = the_cell([billed(COST)], [booked(service_tier="batch")])
    assert causes(cell) == {"service tier": COST // 2}
    assert cell.reasons[0].detail == "standard instead of batch"


def test_a_part_in_another_tier_where_the_bill_says_it() -> None:
    lines = [
        billed(COST, service_tier="standard"), billed(cost(MORE, tier="batch"), MORE, service_tier="batch"),
    ]  # fmt: skip
    cell = the_cell(lines, [booked(plus(USED, MORE))])
    assert causes(cell) == {"service tier": -cost(MORE, tier="batch")}


def test_a_price_of_another_date() -> None:
    cell = the_cell([billed(cost(USED, OLD))], [booked()])
    assert causes(cell) == {"price date": cost(USED, OLD) - COST}
    cell = the_cell([billed(COST)], [booked(price=OLD)])
    assert causes(cell) == {"price date": COST - cost(USED, OLD)}
    assert cell.reasons[0].detail == "the price that is valid from 2026-10-01 on"


def test_a_price_of_another_date_in_another_tier() -> None:
    cell = the_cell([billed(cost(USED, OLD, "batch"))], [booked()])
    assert causes(cell) == {
        "service tier": cost(USED, OLD, "batch") - cost(USED, OLD), "price date": cost(USED, OLD) - COST,
    }  # fmt: skip


def test_without_tokens_tier_and_date_are_recognized_and_nothing_else_is_claimed() -> None:
    assert causes(the_cell([billed(COST // 2, Usage())], [booked()])) == {"service tier": -COST // 2}
    assert causes(the_cell([billed(cost(USED, OLD), Usage())], [booked()])) == {"price date": COST // 2}
    cell = the_cell([billed(COST + 7 * CENT, Usage())], [booked()])
    assert causes(cell) == {"unexplained": 7 * CENT}
    assert cell.capture_rate == Fraction(COST, COST + 7 * CENT)


def test_another_rate_says_which() -> None:
    cell = the_cell([billed(COST * 9 // 10)], [booked()])
    assert causes(cell) == {"price": -COST // 10}
    assert cell.reasons[0].detail == "the bill's rates are 0.9000 times those of the price book"


def test_a_ledger_that_is_off_its_own_price_is_not_called_a_price_of_the_bill() -> None:
    cell = the_cell([billed(COST)], [booked(nanos=COST - CENT)])
    assert causes(cell) == {"unexplained": CENT}


def test_of_a_price_only_as_much_is_taken_as_the_bill_is_off() -> None:
    assert causes(the_cell([billed(COST + CENT)], [booked(nanos=COST + 3 * CENT)])) == {"unexplained": -2 * CENT}
    cell = the_cell([billed(COST + CENT)], [booked(nanos=COST - 3 * CENT)])
    assert causes(cell) == {"price": CENT, "unexplained": 3 * CENT}
    assert causes(the_cell([billed(COST + 1, bound=2)], [booked(nanos=COST - CENT)])) == {"unexplained": CENT + 1}


def test_tiers_that_both_sides_have_are_no_reason() -> None:
    batch = cost(MORE, tier="batch")
    lines = [
        billed(COST * 11 // 10, service_tier="standard"), billed(batch, MORE, service_tier="batch"),
    ]  # fmt: skip
    assert causes(the_cell(lines, [booked(), booked(MORE, service_tier="batch")])) == {"price": COST // 10}


def test_items_that_are_no_model_are_fees() -> None:
    fee = replace(billed(3 * CENT, Usage()), model=None, item="code execution")
    same, item = sorted(reconciled([billed(COST), fee], [booked()]).cells, key=lambda cell: cell.key.item)
    assert (same.reasons, causes(item)) == ((), {"fees": 3 * CENT})
    assert item.key.item == "code execution"


def test_what_the_ledger_has_with_the_model_and_the_bill_by_itself_cancels_out() -> None:
    fee = replace(billed(3 * CENT, Usage()), model=None, item="web search")
    found = reconciled([billed(COST), fee], [booked(nanos=COST + 3 * CENT, unit_nanos=3 * CENT)])
    assert sorted(sum(causes(cell).values()) for cell in found.cells) == [-3 * CENT, 3 * CENT]
    assert {cause for cell in found.cells for cause in causes(cell)} == {"fees"}


@pytest.mark.parametrize(("off", "cause"), [(CENT // 2 + 30, "rounding"), (CENT // 2 + 31, "unexplained")])
def test_rounding_is_bounded_by_what_is_written(off: int, cause: str) -> None:
    # Half a cent of the bill's line, and 3 nano-dollars for each of the ten events.
    assert causes(the_cell([billed(COST + off, Usage(), CENT // 2)], [booked()])) == {cause: off}


def test_calls_without_a_price_are_valued_by_the_book_of_today() -> None:
    unpriced = booked(MORE, unpriced=True, nanos=0, price_id=0, events=2)
    cell = the_cell([billed(cost(plus(USED, MORE)), plus(USED, MORE))], [booked(), unpriced])
    assert causes(cell) == {"unpriced": cost(MORE)}
    assert (cell.unpriced, cell.reasons[0].detail) == (2, "2 calls without a price, 55,000 tokens")


def test_calls_without_a_price_in_any_book_are_valued_by_the_bill() -> None:
    unpriced = booked(MORE, unpriced=True, nanos=0, price_id=0, model="new")
    assert causes(the_cell([billed(CENT, MORE, model="new")], [unpriced])) == {"unpriced": CENT}


def test_what_was_booked_before_is_no_reason_once_nothing_differs() -> None:
    more = plus(USED, MORE)
    adjustment = booked(Usage(), is_adjustment=True, nanos=cost(MORE), events=1)
    assert the_cell([billed(cost(more), more)], [booked(), adjustment]).reasons == ()
    cell = the_cell([billed(COST)], [booked(), adjustment])
    assert causes(cell) == {"booked before": -cost(MORE)}


@pytest.mark.parametrize("hours", [-8, -5, 1, 5.5, 9])
@pytest.mark.parametrize("with_tokens", [True, False])
def test_days_of_another_time_zone(hours: float, with_tokens: bool) -> None:
    lines, rows = shifted(hours)
    if not with_tokens:
        lines = [replace(line, usage=Usage()) for line in lines]
    found = reconciled(lines, rows)
    assert found.offsets == {"openai": timedelta(hours=hours)}
    assert {cause for cell in found.cells for cause in causes(cell)} == {"time zone"}


def test_untracked_calls_in_another_time_zone_are_told_apart() -> None:
    lines, rows = shifted(-8)
    more = lines[1].usage.input_tokens + 5_000
    lines[1] = billed(cost(Usage(more)), Usage(more), begin=lines[1].begin)
    found = reconciled(lines, rows)
    assert found.by_cause == {
        "time zone": sum(causes(cell).get("time zone", 0) for cell in found.cells), "untracked calls": 10_000_000,
    }  # fmt: skip


def test_too_much_on_one_day_and_too_little_on_another_is_no_time_zone() -> None:
    lines, rows = shifted(0)
    for number, tokens in ((1, 5_000), (2, -5_000)):
        usage = Usage(lines[number].usage.input_tokens + tokens)
        lines[number] = billed(cost(usage), usage, begin=lines[number].begin)
    found = reconciled(lines, rows)
    assert found.offsets == {"openai": timedelta()}
    assert found.by_cause == {"untracked calls": 10_000_000, "calls the bill does not have": -10_000_000}


def test_a_time_zone_that_helps_a_little_is_none() -> None:
    hours = ((12, 10_000), (24, 1_000), (36, 10_000))
    rows = [booked(Usage(tokens), begin=DAY + timedelta(hours=hour)) for hour, tokens in hours]
    lines = [
        billed(cost(Usage(tokens)), Usage(tokens), begin=DAY + timedelta(days=day))
        for day, tokens in enumerate((15_000, 6_000))
    ]
    assert reconciled(lines, rows).offsets == {"openai": timedelta()}


def test_four_reasons_are_named_with_their_dollars() -> None:
    days = [DAY + timedelta(days=number) for number in range(4)]
    rows = [booked(begin=day + timedelta(hours=12)) for day in days]
    more = plus(USED, MORE)
    lines = [
        billed(cost(more), more, begin=days[0]),
        billed(COST // 2, begin=days[1]),
        billed(cost(USED, OLD), begin=days[2]),
        billed(COST + 4_000, bound=CENT // 2, begin=days[3]),
        replace(billed(CENT, Usage(), begin=days[3]), model=None, item="web search"),
    ]
    found = reconciled(lines, rows)
    assert {cause.value: nanos for cause, nanos in found.by_cause.items()} == {
        "fees": CENT, "untracked calls": cost(MORE), "service tier": -COST // 2,
        "price date": cost(USED, OLD) - COST, "rounding": 4_000,
    }  # fmt: skip


def test_four_reasons_in_one_cell() -> None:
    unpriced = booked(MORE, unpriced=True, nanos=0, price_id=0)
    more = plus(plus(USED, MORE), MORE)
    cell = the_cell(
        [billed(cost(more, OLD) + 4_000, more, bound=5_000)],
        [booked(), unpriced, booked(Usage(), is_adjustment=True, nanos=CENT)],
    )
    assert causes(cell) == {
        "booked before": -CENT, "unpriced": cost(MORE), "untracked calls": cost(MORE),
        "price date": cost(more, OLD) - cost(more), "rounding": 4_000,
    }  # fmt: skip


def test_a_bill_that_does_not_say_what_was_cached_is_taken_to_have_the_ledgers_shares() -> None:
    assert the_cell([billed(COST, Usage(1_000_000, 100_000))], [booked()]).reasons == ()
    twice = Usage(2_000_000, 200_000)
    assert causes(the_cell([billed(2 * COST, twice)], [booked()])) == {"untracked calls": COST}


def test_reasoning_is_output() -> None:
    assert the_cell([billed(COST)], [booked(Usage(1_000_000, 100_000, 400_000, 0, 0, 60_000))]).reasons == ()


def test_projects_count_only_if_the_bill_says_any() -> None:
    rows = [booked(project="a"), booked(MORE, project="b")]
    whole = plus(USED, MORE)
    assert the_cell([billed(cost(whole), whole)], rows).key.project == ""
    found = reconciled([billed(COST, project="a"), billed(cost(MORE), MORE, project="b")], rows)
    assert [(cell.key.project, cell.reasons) for cell in found.cells] == [("a", ()), ("b", ())]


def test_models_count_only_if_the_bill_says_any() -> None:
    line = replace(billed(COST + cost(MORE, CHEAP), plus(USED, MORE)), model=None)
    assert the_cell([line], [booked(), booked(MORE, CHEAP)]).reasons == ()


def test_calls_of_other_days_and_providers_are_left_out() -> None:
    rows = [booked(), booked(begin=NOON + timedelta(days=1)), booked(provider="azure")]
    assert the_cell([billed(COST)], rows).reasons == ()


@pytest.mark.parametrize(
    ("called", "on_bill"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude4.5Sonnet"),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", "Claude3.5Haiku"),
        ("amazon.nova-lite-v1:0", "NovaLite"),
        ("global.anthropic.claude-opus-4-5-v1:0", "global.Claude4.5Opus"),
        ("regional.anthropic.claude-opus-4-5-v1:0", "global.Claude4.5Opus"),
        ("us.amazon.nova-2-lite-v1:0", "Nova2.0Lite"),
        ("openai.gpt-oss-20b-1:0", "gpt-oss-20b"),
        ("meta.llama3-3-70b-instruct-v1:0", "Llama3-3-70B"),
    ],
)
def test_models_of_aws_are_found_by_their_words(called: str, on_bill: str) -> None:
    rows = [booked(provider="aws", model=called, unpriced=False, price_id=2)]
    cell = the_cell([billed(COST, provider="aws", model=on_bill)], rows)
    assert (cell.key.model, cell.reasons) == (called, ())


def test_models_of_aws_that_are_served_anywhere_are_others() -> None:
    names = [f"{where}.anthropic.claude-opus-4-5-v1:0" for where in ("global", "regional")]
    rows = [booked(provider="aws", model=name) for name in names]
    lines = [billed(COST, provider="aws", model=f"{where}Claude4.5Opus") for where in ("global.", "")]
    assert [(cell.key.model, cell.reasons) for cell in reconciled(lines, rows).cells] == [(name, ()) for name in names]


def test_a_name_that_fits_two_models_stays() -> None:
    rows = [booked(provider="aws", model=f"anthropic.claude-sonnet-4-{day}-v1:0") for day in (20250514, 20250515)]
    found = reconciled([billed(COST, provider="aws", model="Claude4Sonnet")], rows)
    assert sorted(cell.key.model for cell in found.cells)[-1] == "claude4sonnet"


def test_a_bill_without_amounts_is_refused() -> None:
    with pytest.raises(ValueError, match="name the export of costs"):
        compare([billed(0)], [booked()], BOOK)


def test_an_empty_book_names_no_price() -> None:
    empty = PriceBook({("openai", "x"): ModelPrices("openai", "x", (NEW,))}, lambda provider, model: None)
    row = booked(price_id=0, nanos=COST)
    assert causes(the_cell([billed(COST * 2)], [row], empty)) == {"price": COST}
