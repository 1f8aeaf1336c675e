"""`import-users`: what a CSV file says is imported; where one line is wrong, it is named and nothing is."""

from pathlib import Path

import pytest

from tests.cli.commands import rows, run
from token_ledger.cli.user_lists import read_users

HEADER = b"user,cost_center,from\n"
USERS = "select user_id, cost_centers::text from users order by 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the first line names the columns"),
        (b"name\nada\n", "line 1: the first line names the columns"),
        (b"user,cost_center,form\nada,lab,\n", "line 1: the first line names the columns"),
        (b"user,cost_center,from,note\nada,lab,,x\n", "line 1: the first line names the columns"),
        (HEADER + b"ada\n", "line 2: 1 columns, where the first line names 3 (user,cost_center,from)"),
        (HEADER + b"bob,ops,\nada,lab\n", "line 3: 2 columns"),
        (HEADER + b"ada,lab,,ops\n", "line 2: 4 columns"),
        (b"user,cost_center\nada,lab,2027-01-01T00:00:00Z\n", "line 2: 3 columns, where the first line names 2"),
        (HEADER + b",lab,\n", "line 2: user: String should have at least 1 character"),
        (HEADER + b"bob,,\n\nada,lab,yesterday\n", "line 4: cost_centers.0.from: write an instant as RFC 3339 does"),
        (HEADER + b"ada,lab,\nbob,,\nada,ops,\n", "line 4: cost centers ascend"),
        (HEADER + b"ada,,2027-01-01T00:00:00Z\n", "line 2: an instant (from) without a cost center"),
        (HEADER + b'ada,"lab,\nbob,ops,\n', "line 3: unexpected end of data"),
        (HEADER + b"ada," + b"x" * 131_073 + b",\n", "line 2: field larger than field limit (131072)"),
        (HEADER + b"ada,l\xe4b,\n", "this is not UTF-8"),
        (HEADER + b"".join(b"ada,lab,%d-01-01T00:00:00Z\n" % year for year in range(2000, 2065)),
         "line 66: cost_centers: Tuple should have at most 64 items"),
        (HEADER + b"".join(b"user %d,lab,\n" % number for number in range(1_500)) + b"a\0b,lab,\n",
         "line 1502: user: String should match pattern"),
    ],
)  # fmt: skip
async def test_a_list_that_is_wrong_is_refused_as_a_whole(
    content: bytes, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    path = settings / "users.csv"
    path.write_bytes(content)
    assert await run("import-users", "acme", str(path)) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"token-ledger: {path}, ")
    assert message in complaint
    assert complaint.count("\n") == 1
    assert await rows(database_url, USERS) == []


async def test_a_list_as_spreadsheets_write_it_is_imported(settings: Path, database_url: str) -> None:
    await run("tenant", "acme")
    path = settings / "users.csv"
    path.write_bytes(b"\xef\xbb\xbf" + b'user,cost_center\r\n"zo\xc3\xab",lab\r\nada,\r\n')
    assert await run("import-users", "acme", str(path)) == 0
    assert [tuple(row) for row in await rows(database_url, USERS)] == [
        ("ada", "[]"), ("zoë", '[{"from": null, "cost_center": "lab"}]'),
    ]  # fmt: skip


async def test_more_users_than_one_command_sets_are_imported(settings: Path, database_url: str) -> None:
    await run("tenant", "acme")
    path = settings / "users.csv"
    path.write_bytes(HEADER + b"".join(b"user %d,lab,\n" % number for number in range(1_001)))
    assert await run("import-users", "acme", str(path)) == 0
    assert len(await rows(database_url, USERS)) == 1_001


def test_rows_of_one_user_are_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(HEADER + b"ada,lab,\nbob,,\nada,ops,2027-01-01T00:00:00Z\n")
    ada, bob = read_users(path)
    assert [(each.cost_center, each.since and each.since.year) for each in ada.cost_centers] == [
        ("lab", None), ("ops", 2027),
    ]  # fmt: skip
    assert (bob.user, bob.cost_centers) == ("bob", ())
