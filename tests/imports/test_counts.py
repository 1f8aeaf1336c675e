"""Numbers as people and spreadsheets write them."""

from decimal import Decimal

import pytest

from token_ledger.imports.counts import DecimalMark, UnclearNumber, count_of, decimal_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        ("12", None, "12"),
        (" 12 ", None, "12"),
        ("-5", "point", "-5"),
        ("1,234", "point", "1234"),
        ("1.234", "comma", "1234"),
        ("1,234,567", None, "1234567"),
        ("1.234.567", None, "1234567"),
        ("1.234,5", None, "1234.5"),
        ("1,234.5", None, "1234.5"),
        ("1.234,5", "comma", "1234.5"),
        ("1,234.5", "point", "1234.5"),
        ("0,5", None, "0.5"),
        ("0.125", None, "0.125"),
        ("0,125", None, "0.125"),
        ("1,5", "comma", "1.5"),
        ("1.5e3", "point", "1500"),
        ("2e-05", "point", "0.00002"),
        ("1 234", "point", "1234"),
        ("1\u00a0234\u00a0567,5", "comma", "1234567.5"),
        ("1'234.5", "point", "1234.5"),
        ("1,234.0", "point", "1234"),
    ],
)
def test_a_number_is_read(text: str, mark: DecimalMark | None, number: str) -> None:
    assert decimal_of(text, mark) == Decimal(number)


@pytest.mark.parametrize("text", ["", "abc", "n/a", "1e", "12 apples", "NaN", "Infinity", "--1", ",", "."])
def test_what_is_no_number_is_none(text: str) -> None:
    assert decimal_of(text, None) is None
    assert decimal_of(text, "point") is None


@pytest.mark.parametrize(
    ("text", "mark", "advice"),
    [
        ("1,234", None, "say `decimal: point` or `comma`"),
        ("1.234", None, "say `decimal: point` or `comma`"),
        ("1,5", "point", "should the mapping say `decimal: comma`?"),
        ("1.234,5", "point", "should the mapping say `decimal: comma`?"),
        ("1,234.5", "comma", "should the mapping say `decimal: point`?"),
        ("12.5", "comma", "should the mapping say `decimal: point`?"),
    ],
)
def test_a_number_that_may_be_two_is_refused(text: str, mark: DecimalMark | None, advice: str) -> None:
    with pytest.raises(UnclearNumber, match=repr(text)) as refused:
        decimal_of(text, mark)
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("cell", "unit", "count"),
    [
        (5, 1, 5), ("5", 1, 5), (5.0, 1, 5), ("5.0", 1, 5), ("1.5", 1_000, 1_500), (2, 1_000, 2_000), (-1, 1, -1),
        (Decimal("7"), 1, 7), ("1,234", 1, 1234),
    ],
)  # fmt: skip
def test_a_whole_number_is_a_count(cell: object, unit: int, count: int) -> None:
    found = count_of(cell, "point", unit)
    assert found == count
    assert type(found) is int


@pytest.mark.parametrize("cell", ["abc", "1.5", 1.5, True, NAN, [1], {"a": 1}, "9" * 5000, 10**30, 1e300, "1e99"])
def test_what_is_no_count_stays_for_the_ledger_to_refuse(cell: object) -> None:
    assert count_of(cell) is cell
