"""Owns the file of `token-ledger import-users`: CSV with a row for every user, or for each of a user's cost centers.

A file that is wrong anywhere is refused as a whole, with the line at fault: nothing of it is imported.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from token_ledger.api.wire_admin import UserBody
from token_ledger.cli.complaints import first_complaint
from token_ledger.core.tenant import check_cost_centers

COLUMNS = ("user", "cost_center", "from")


def read_users(path: Path) -> list[UserBody]:
    """Return the users of a CSV file; several rows of one user are cost centers one after the other."""
    # Spreadsheets begin UTF-8 with a mark. Strict, for otherwise a quote that is left open takes the rest of the file.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            return _users(rows)
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, after line {rows.line_num}: this is not UTF-8 ({error.reason})") from None
        except ValidationError as error:
            raise ValueError(f"{path}, line {rows.line_num}: {first_complaint(error)}") from None
        except ValueError as error:
            raise ValueError(f"{path}, line {rows.line_num or 1}: {error}") from None


def _users(rows: Iterator[list[str]]) -> list[UserBody]:
    header = next(rows, [])
    if tuple(header) not in (COLUMNS, COLUMNS[:2]):
        raise ValueError("the first line names the columns: user,cost_center and perhaps from")
    users: dict[str, UserBody] = {}
    for row in rows:
        if not row:
            continue  # an empty line
        if len(row) != len(header):
            raise ValueError(f"{len(row)} columns, where the first line names {len(header)} ({','.join(header)})")
        users[row[0]] = _with_row(users.get(row[0]), row)
    return list(users.values())


def _with_row(known: UserBody | None, row: Sequence[str]) -> UserBody:
    """Return a user with the cost center of one more row; a row without one makes the user known, no more."""
    user, cost_center, since = (*row, "")[:3]
    if since and not cost_center:
        raise ValueError("an instant (from) without a cost center")
    centers: list[object] = [] if known is None else list(known.cost_centers)
    if cost_center:
        centers.append({"cost_center": cost_center, "from": since or None})
    body = UserBody.model_validate({"user": user, "cost_centers": centers})
    check_cost_centers([(each.since, each.cost_center) for each in body.cost_centers])
    return body
