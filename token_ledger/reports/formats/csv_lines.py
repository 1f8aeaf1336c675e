"""Owns what all CSV has in common: names that no spreadsheet takes for formulas, and a last line that ends it."""

import re
from typing import Any, Final

_FORMULA: Final = r"[-=+@\t\r\n]"
"""What a text begins with that a spreadsheet takes for a formula."""
_begins_formula: Final = re.compile(_FORMULA).match


def plain_name(name: str) -> str:
    """Return a name with a `'` before it if a spreadsheet would take it for a formula."""
    return f"'{name}" if _begins_formula(name) else name


def plain_name_sql(value: str) -> str:
    """Return what makes a name the same in SQL, of a value in SQL."""
    return f"case when {value} ~ '^{_FORMULA}' then '''' || {value} else {value} end"


def last_line(told: str, hashed: Any) -> bytes:
    """Return the line that ends a table: what it has, and the check sum of all bytes before."""
    return f"# end of {told}; sha256 of all lines above: {hashed.hexdigest()}\n".encode()
