"""Reads the file of `token-ledger import-users`: CSV with a row per user, or per cost center of a user.

If any line is wrong, the whole file is refused and the line is named.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.tenant import check_cost_centers
from token_ledger.wire.bodies.users import UserBody
from token_ledger.wire.validation_errors import first_error

_LONGEST_CELL = 131_072
COLUMNS = ("user", "cost_center", "from")


def read_users(path: Path) -> list[UserBody]:
    """Return the users of a CSV file; several rows of one user are cost centers in succession. Raises ValueError."""
    # Spreadsheets begin UTF-8 with a byte order mark. Without strict, an unclosed quote would swallow the rest.
    csv.field_size_limit(_LONGEST_CELL)  # of this process, in which another reader may have set it
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            return _users(rows)
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, after line {rows.line_num}: the file is not UTF-8 ({error.reason})") from None
        except ValidationError as error:
            raise ValueError(f"{path}, line {rows.line_num}: {first_error(error)}") from None
        except ValueError as error:
            raise ValueError(f"{path}, line {rows.line_num or 1}: {error}") from None


def _users(rows: Iterator[list[str]]) -> list[UserBody]:
    header = [cell.strip() for cell in next(rows, [])]
    if tuple(header) not in (COLUMNS, COLUMNS[:2]):
        raise ValueError("the first line must be user,cost_center or user,cost_center,from")
    users: dict[str, UserBody] = {}
    for row in rows:
        if not row:
            continue  # an empty line
        if len(row) != len(header):
            raise ValueError(f"{len(row)} columns, but the first line has {len(header)} ({','.join(header)})")
        user = _name(row[0])
        users[user] = _with_row(users.get(user), user, row)
    return list(users.values())


def _name(cell: str) -> str:
    try:
        return clean_name(cell)
    except ValueError as error:
        raise ValueError(f"user: {error}") from None


def _with_row(known: UserBody | None, user: str, row: Sequence[str]) -> UserBody:
    """Return a user with the cost center of one more row; a row may name the user only."""
    _, cost_center, since = (*row, "")[:3]
    since = since.strip()
    if cost_center.isspace():
        cost_center = ""
    if since and not cost_center:
        raise ValueError("from is given without a cost_center")
    centers: list[object] = [] if known is None else list(known.cost_centers)
    if cost_center:
        centers.append({"cost_center": cost_center, "from": since or None})
    body = UserBody.model_validate({"user": user, "cost_centers": centers})
    check_cost_centers([(each.since, each.cost_center) for each in body.cost_centers])
    return body
