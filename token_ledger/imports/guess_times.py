"""Guesses how the instants of a table are written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from token_ledger.imports.instants import AUTOMATIC, SPREADSHEET, instant_reader, unix_format

_DAYS: Final = range(36_526, 73_051)
"""Days of a spreadsheet from 2000 to 2099."""
_DATES: Final = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_TIMES: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
_PATTERNS: Final = tuple(f"{date}{time}" for date in _DATES for time in _TIMES)


def guessed_time(cells: Sequence[Any], unsure: list[str]) -> dict[str, str]:
    """Return how cells with instants are most likely written, as `time` of a mapping says it."""
    if not cells:
        return {}
    if all(_is_number(cell) for cell in cells):
        form = unix_format(max(float(cell) for cell in cells))
        if form == SPREADSHEET and not all(int(float(cell)) in _DAYS for cell in cells):
            unsure.append(f"instants such as {cells[0]} count from a begin that the file does not say: convert them")
            return {}
        unsure.append(f"instants are read as {form.replace('_', ' ')}, so the first is {_first(form, cells[0])}")
        return {"format": form}
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    if len(texts) < len(cells) or all(text[4:5] in ("-", "/") for text in texts):
        if any(_has_no_zone(cell) for cell in cells):
            unsure.append("instants have no time zone: give --time-zone, or `time: {zone: …}` in the mapping")
        return {}
    fits = [form for form in _PATTERNS if all(_is_written_as(form, text) for text in texts)]
    if not fits:
        unsure.append(f"instants such as {texts[0]!r} are in no format that is known: say `time: {{format: …}}`")
        return {}
    if len(fits) > 1:
        unsure.append(f"instants are read as {fits[0]!r}, so {texts[0]!r} begins with the {_begins(fits[0])}")
    unsure.append("instants have no time zone: give --time-zone, or `time: {zone: …}` in the mapping")
    return {"format": fits[0]}


def _is_number(cell: object) -> bool:
    if isinstance(cell, str):
        return cell.strip().replace(".", "", 1).isdecimal()
    return isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell


def _first(form: str, cell: object) -> str:
    return instant_reader(form, None)(cell) if form.startswith("unix") else f"day {cell} of a spreadsheet"


def _has_no_zone(cell: object) -> bool:
    if isinstance(cell, datetime):
        return cell.tzinfo is None
    try:
        instant_reader(AUTOMATIC, None)(cell)
    except ValueError:
        return True
    return False


def _is_written_as(form: str, text: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _begins(form: str) -> str:
    return "month" if form.startswith("%m") else "day"
