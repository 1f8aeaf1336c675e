"""Reads numbers as people and spreadsheets write them: 1,234 and 1.234,5 and 1 234 and 1.2e3."""

import re
from decimal import Decimal
from typing import Final, Literal

DecimalMark = Literal["point", "comma"]
_PLAIN: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")
_GROUPED: Final = {",": re.compile(r"[+-]?\d{1,3}(,\d{3})+"), ".": re.compile(r"[+-]?\d{1,3}(\.\d{3})+")}
_SPACES: Final = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'\u2019](?=\d{3}(?:\D|$))")
_MARKS: Final = {"point": ".", "comma": ","}

_TOO_LARGE: Final = 10**18
"""From here on a number is no count of anything; Python would refuse to write one of thousands of digits."""


class UnclearNumber(ValueError):
    """A number may be read in two ways, or not in the way that was said; the text says what to do."""


def decimal_of(text: str, mark: DecimalMark | None) -> Decimal | None:
    """Return a number, None for what is none; raises UnclearNumber where it needs to be known what a comma means."""
    text = _SPACES.sub("", text.strip())
    if "," in text or ("." in text and mark != "point"):
        plain = _without_groups(text, mark)
        if plain is None:
            return None
        text = plain
    return Decimal(text) if _PLAIN.fullmatch(text) else None


def _without_groups(text: str, mark: DecimalMark | None) -> str | None:
    """Return a number with a point for the decimals and no other mark."""
    if text.strip("+-0123456789.,eE") != "" or not any(each.isdigit() for each in text):
        return None
    at = _MARKS[mark] if mark else _mark_in(text)
    group = "," if at == "." else "."
    whole, found, rest = text.partition(at)
    if group in whole:
        if not _GROUPED[group].fullmatch(whole) or group in rest:
            raise _unclear(text, mark)
        whole = whole.replace(group, "")
    elif group in rest:
        raise _unclear(text, mark)
    return f"{whole}.{rest}" if found else whole


def _mark_in(text: str) -> str:
    """Return which of the two is the decimal mark of a number that has one of them or both."""
    if "," in text and "." in text:
        return max(",.", key=text.rindex)
    other, here = (".", ",") if "," in text else (",", ".")
    if not _GROUPED[here].fullmatch(text):
        return here
    if text.count(here) == 1 and not text.lstrip("+-").startswith("0"):
        raise _unclear(text, None)
    return here if text.lstrip("+-").startswith("0") else other


def _unclear(text: str, mark: DecimalMark | None) -> UnclearNumber:
    if mark is None:
        return UnclearNumber(f"{text!r} has decimals or thousands: say `decimal: point` or `comma` in the mapping")
    other = "comma" if mark == "point" else "point"
    return UnclearNumber(f"{text!r} is no number with a decimal {mark}: should the mapping say `decimal: {other}`?")


def count_of(cell: object, mark: DecimalMark | None = "point", unit: int = 1) -> object:
    """Return how many a cell says there were, as a whole number; what is none, as it is, for the ledger to refuse."""
    match cell:
        case bool():
            return cell
        case int():
            return cell * unit if abs(cell) < _TOO_LARGE else cell
        case float() | Decimal():
            number = Decimal(str(cell))
        case str():
            found = decimal_of(cell, mark)
            if found is None:
                return cell
            number = found
        case _:
            return cell
    if not number.is_finite() or abs(number) >= _TOO_LARGE:
        return cell
    whole = number * unit
    return int(whole) if whole == whole.to_integral_value() else cell
