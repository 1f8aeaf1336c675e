"""Reads instants as exports write them, and returns them in UTC, as the ledger takes them.

Clocks that were set back show an hour twice: the first of the two is taken. An hour that was left out when they were
set forward is read as if they had not been: 02:30 is what then was 03:30.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache, partial
from typing import Final
from zoneinfo import ZoneInfo

Reader = Callable[[object], str]
"""Returns an instant in UTC, as RFC 3339 writes it; raises ValueError with what to do."""

AUTOMATIC: Final = "iso"
UNIX: Final = {"unix_seconds": 1_000_000, "unix_milliseconds": 1_000, "unix_microseconds": 1}
"""Formats that count from 1970 on, with their unit in microseconds."""
SPREADSHEET: Final = "spreadsheet_days"
"""Days since the end of 1899, as a spreadsheet keeps dates."""
FORMATS: Final = (AUTOMATIC, *UNIX, SPREADSHEET)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY: Final = datetime(1899, 12, 30)
_NUMBER: Final = re.compile(r"\d+([.,]\d+)?")
_DAYS_AND_MONTHS: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d\d)\b.*")
_LATEST_DAY: Final = 200_000


def instant_reader(form: str, zone: ZoneInfo | None) -> Reader:
    """Return what reads instants of a format: one of FORMATS, or a pattern such as `%d.%m.%Y %H:%M`.

    `zone` is that of instants without one; None if there must be none such.
    """
    if form == AUTOMATIC:
        return partial(_read_iso, zone)
    if form in UNIX:
        return partial(_read_unix, UNIX[form])
    if form == SPREADSHEET:
        return partial(_read_days, zone)
    read = lru_cache(4096)(partial(_read_pattern, form, zone))
    return lambda cell: read(str(cell).strip())


def _read_iso(zone: ZoneInfo | None, cell: object) -> str:
    if isinstance(cell, str):
        text = cell.strip()
        if text[4:5] == "/" == text[7:8]:
            text = text.replace("/", "-")
        if text.endswith((" UTC", " GMT")):
            text = text[:-4] + "+00:00"
        if text[4:5] != "-" or text[7:8] != "-":
            raise ValueError(_advice(text))
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(_advice(text)) from None
        return _in_utc(at, zone, cell)
    if isinstance(cell, date):
        return _in_utc(cell if isinstance(cell, datetime) else datetime.combine(cell, time()), zone, str(cell))
    raise ValueError(_advice(str(cell)))


def _read_unix(unit: int, cell: object) -> str:
    number = _number(cell)
    try:
        return (_EPOCH + timedelta(microseconds=round(number * unit))).isoformat()
    except (OverflowError, ValueError):
        raise ValueError(f"{cell!r} is no instant that a clock shows: check the format of its column") from None


def _read_days(zone: ZoneInfo | None, cell: object) -> str:
    number = _number(cell)
    if not 1 <= number < _LATEST_DAY:
        raise ValueError(f"{cell!r} is no date of a spreadsheet: check the format of its column")
    # A spreadsheet keeps about a hundred thousandth of a second.
    return _in_utc(_FIRST_DAY + timedelta(milliseconds=round(number * 86_400_000)), zone, str(cell))


def _number(cell: object) -> float:
    try:
        return float(cell.replace(",", ".") if isinstance(cell, str) else cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{cell!r} is no number, but the format of its column says so") from None


def _read_pattern(form: str, zone: ZoneInfo | None, text: str) -> str:
    try:
        at = datetime.strptime(text, form)
    except ValueError:
        raise ValueError(f"{text!r} is not written as {form!r}: change `time.format` in the mapping") from None
    return _in_utc(at, zone, text)


def _in_utc(at: datetime, zone: ZoneInfo | None, written: str) -> str:
    if at.tzinfo is None:
        if zone is None:
            raise ValueError(
                f"{written!r} does not say in which time zone it is: give --time-zone, such as --time-zone "
                "Europe/Berlin or UTC, or `time: {zone: …}` in the mapping"
            )
        at = at.replace(tzinfo=zone)
    try:
        return at.astimezone(UTC).isoformat()
    except OverflowError:
        raise ValueError(f"{written!r} is out of the years that exist here; write one from 2000 on") from None


def _advice(text: str) -> str:
    if _NUMBER.fullmatch(text):
        form = unix_format(float(text.replace(",", ".")))
        return f"{text!r} is a number: say `time: {{format: {form}}}` in the mapping, if it is that"
    if _DAYS_AND_MONTHS.fullmatch(text):
        return (
            f"{text!r} is a date of a spreadsheet, which may begin with the day or with the month: say "
            "`time: {format: '%d/%m/%Y %H:%M'}` or `'%m/%d/%Y %H:%M'` in the mapping, as its column is written"
        )
    if not text:
        return "the cell is blank, but every call needs its instant"
    return f"{text!r} is no instant; write one such as 2026-11-21T09:30:00Z, or its format in the mapping"


def unix_format(number: float) -> str:
    """Return the format that a number is most likely in, if it stands for an instant of these decades."""
    if number < _LATEST_DAY:
        return SPREADSHEET
    if number < 1e11:
        return "unix_seconds"
    return "unix_milliseconds" if number < 1e14 else "unix_microseconds"
