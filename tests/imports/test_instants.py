"""Instants as exports write them."""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from token_ledger.imports.instants import instant_reader

BERLIN = ZoneInfo("Europe/Berlin")
NINE = "2026-11-21T09:30:00+00:00"


@pytest.mark.parametrize(
    "cell",
    [
        "2026-11-21T09:30:00Z",
        "2026-11-21T09:30Z",
        "2026-11-21 09:30:00+00",
        "2026-11-21 09:30:00 UTC",
        "2026/11/21 10:30:00+01:00",
        "2026-11-21T10:30:00.000000000+01:00",
        " 2026-11-21 10:30:00 ",
        "2026-11-21 10:30:00,000",
        datetime(2026, 11, 21, 10, 30),
        datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    ],
)
def test_iso_is_read_in_the_zone_of_those_without_one(cell: object) -> None:
    assert instant_reader("iso", BERLIN)(cell) == NINE


@pytest.mark.parametrize("cell", ["2026-11-21", date(2026, 11, 21)])
def test_a_date_is_the_begin_of_its_day(cell: object) -> None:
    assert instant_reader("iso", BERLIN)(cell) == "2026-11-20T23:00:00+00:00"


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        pytest.param("2026-10-25 01:59:59", "2026-10-24T23:59:59+00:00", id="before"),
        pytest.param("2026-10-25 02:30:00", "2026-10-25T00:30:00+00:00", id="twice, so the first"),
        pytest.param("2026-10-25 03:00:00", "2026-10-25T02:00:00+00:00", id="after"),
        pytest.param("2026-03-29 02:30:00", "2026-03-29T01:30:00+00:00", id="never, so 03:30"),
        pytest.param("2026-03-29 03:30:00", "2026-03-29T01:30:00+00:00", id="the same instant"),
    ],
)
def test_hours_that_a_clock_shows_twice_or_never(local: str, instant: str) -> None:
    assert instant_reader("iso", BERLIN)(local) == instant


@pytest.mark.parametrize(
    ("form", "cell", "instant"),
    [
        ("unix_seconds", "1795253400", NINE),
        ("unix_seconds", 1_795_253_400.25, "2026-11-21T09:30:00.250000+00:00"),
        ("unix_milliseconds", 1_795_253_400_000, NINE),
        ("unix_microseconds", "1795253400000000", NINE),
        ("spreadsheet_days", "46347.3958333333", "2026-11-21T09:30:00+00:00"),
        ("spreadsheet_days", "46347,3958333333", "2026-11-21T09:30:00+00:00"),
        ("%d.%m.%Y %H:%M", "21.11.2026 09:30", NINE),
        ("%m/%d/%Y %I:%M %p", "11/21/2026 9:30 AM", NINE),
        ("%d/%b/%Y:%H:%M:%S %z", "21/Nov/2026:10:30:00 +0100", NINE),
    ],
)
def test_other_formats(form: str, cell: object, instant: str) -> None:
    assert instant_reader(form, ZoneInfo("UTC"))(cell) == instant


@pytest.mark.parametrize(
    ("form", "cell", "advice"),
    [
        ("iso", "2026-11-21 09:30", "give --time-zone, such as --time-zone Europe/Berlin or UTC"),
        ("iso", "", "the cell is blank"),
        ("iso", "yesterday", "write one such as 2026-11-21T09:30:00Z"),
        ("iso", "2026-13-45T00:00:00Z", "write one such as"),
        ("iso", "20261121", "is a number: say `time: {format: unix_seconds}`"),
        ("iso", "1795253400", "say `time: {format: unix_seconds}`"),
        ("iso", 1_795_253_400_000, "say `time: {format: unix_milliseconds}`"),
        ("iso", "46347,4375", "say `time: {format: spreadsheet_days}`"),
        ("iso", "21.11.2026 09:30", "may begin with the day or with the month"),
        ("iso", "1/2/26", "may begin with the day or with the month"),
        ("iso", "0001-01-01T00:00:00+14:00", "out of the years"),
        ("unix_seconds", "soon", "is no number"),
        ("unix_seconds", "9e99", "is no instant that a clock shows"),
        ("unix_seconds", "nan", "is no instant that a clock shows"),
        ("spreadsheet_days", "1795253400", "is no date of a spreadsheet"),
        ("spreadsheet_days", "46347", "give --time-zone"),
        ("%d.%m.%Y", "11/21/2026", "change `time.format`"),
        ("%d.%m.%Y", "21.11.2026", "give --time-zone"),
        ("%d.%m.%Y", ["21.11.2026"], "change `time.format`"),
        ("iso", {"a": 1}, "is no instant"),
        ("unix_seconds", [1], "is no number"),
    ],
)
def test_what_is_no_instant_is_refused_with_advice(form: str, cell: object, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        instant_reader(form, None)(cell)
