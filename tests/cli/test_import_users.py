"""`import-users`: a CSV file is imported, or, if one line is wrong, refused with the number of that line."""

from pathlib import Path

import pytest

from tests.cli.commands import rows, run, without_database
from token_ledger.imports.users_csv import read_users

HEADER = b"user,cost_center,from\n"
USERS = "select user_id, cost_centers::text from users order by 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the first line must be user,cost_center"),
        (b"name\nada\n", "line 1: the first line must be user,cost_center"),
        (b"user,cost_center,form\nada,lab,\n", "line 1: the first line must be user,cost_center"),
        (b"user,cost_center,from,note\nada,lab,,x\n", "line 1: the first line must be user,cost_center"),
        (HEADER + b"ada\n", "line 2: 1 columns, but the first line has 3 (user,cost_center,from)"),
        (HEADER + b"bob,ops,\nada,lab\n", "line 3: 2 columns"),
        (HEADER + b"ada,lab,,ops\n", "line 2: 4 columns"),
        (b"user,cost_center\nada,lab,2027-01-01T00:00:00Z\n", "line 2: 3 columns, but the first line has 2"),
        (HEADER + b",lab,\n", "line 2: user: a name has at least one character"),
        (HEADER + b"bob,,\n\nada,lab,yesterday\n", "line 4: cost_centers.0.from: write an instant as RFC 3339 does"),
        (HEADER + b"ada,lab,\nbob,,\nada,ops,\n", "line 4: cost centers ascend"),
        (HEADER + b"ada,,2027-01-01T00:00:00Z\n", "line 2: from is given without a cost_center"),
        (HEADER + b'ada,"lab,\nbob,ops,\n', "line 3: unexpected end of data"),
        (HEADER + b"ada," + b"x" * 131_073 + b",\n", "line 2: field larger than field limit (131072)"),
        (HEADER + b"ada,l\xe4b,\n", "the file is not UTF-8"),
        (HEADER + b"".join(b"ada,lab,%d-01-01T00:00:00Z\n" % year for year in range(2000, 2065)),
         "line 66: cost_centers: Tuple should have at most 64 items"),
        (HEADER + b"".join(b"user %d,lab,\n" % number for number in range(1_500)) + b"a\0b,lab,\n",
         "line 1502: user: character 2 is U+0000"),
    ],
)  # fmt: skip
async def test_a_wrong_file_is_refused_as_a_whole(
    content: bytes, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    capsys.readouterr()
    path = settings / "users.csv"
    path.write_bytes(content)
    assert await run("import-users", "acme", str(path)) == 1
    complaint = without_database(capsys.readouterr().err)
    assert complaint.startswith(f"token-ledger: {path}, ")
    assert message in complaint
    assert complaint.count("\n") == 1
    assert await rows(database_url, USERS) == []


async def test_a_file_written_by_a_spreadsheet_is_imported(settings: Path, database_url: str) -> None:
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


def test_rows_of_one_user_are_cost_centers_in_succession(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(HEADER + b"ada,lab,\nbob,,\nada,ops,2027-01-01T00:00:00Z\n")
    ada, bob = read_users(path)
    assert [(each.cost_center, each.since and each.since.year) for each in ada.cost_centers] == [
        ("lab", None), ("ops", 2027),
    ]  # fmt: skip
    assert (bob.user, bob.cost_centers) == ("bob", ())


async def test_a_cost_center_of_a_file_is_the_one_of_its_budget(settings: Path, database_url: str) -> None:
    await run("tenant", "acme")
    path = settings / "users.csv"
    path.write_bytes(b"user, cost_center ,from\nada , research, \n\xc2\xa0zoe\xcc\x88, ,\n")
    assert await run("import-users", " acme ", str(path)) == 0
    assert [tuple(row) for row in await rows(database_url, USERS)] == [
        ("ada", '[{"from": null, "cost_center": "research"}]'), ("zo\u00eb", "[]"),
    ]  # fmt: skip


def test_rows_of_two_spellings_are_of_one_user(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(HEADER + b"zo\xc3\xab,lab,\n zoe\xcc\x88 ,ops,2027-01-01T00:00:00Z\n")
    (zoe,) = read_users(path)
    assert zoe.user == "zo\u00eb"
    assert [each.cost_center for each in zoe.cost_centers] == ["lab", "ops"]


@pytest.mark.parametrize("cell", ["ad\u200ba", "\u7814" * 86, "a" * 201, "\u00a0"])
def test_a_name_that_is_none_is_refused_with_its_line(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(HEADER + b"bob,ops,\n" + f"{cell},lab,\n".encode())
    with pytest.raises(ValueError, match="line 3: user: "):
        read_users(path)
    path.write_bytes(HEADER + b"bob,ops,\n" + f"ada,{cell}x\u200b,\n".encode())
    with pytest.raises(ValueError, match=r"line 3: cost_centers\.0\.cost_center: "):
        read_users(path)


async def test_a_row_that_names_only_a_future_cost_center_keeps_the_present_one(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    path = settings / "users.csv"
    path.write_bytes(HEADER + b"ada,lab,\nada,sales,2030-01-01T00:00:00Z\nbob,ops,\ncy,lab,\n")
    capsys.readouterr()
    assert await run("import-users", "acme", str(path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "added ada: lab, sales from 2030-01-01T00:00:00+00:00",
        "added bob: ops",
        "added cy: lab",
        "3 added, 0 changed, 0 unchanged",
    ]
    path.write_bytes(HEADER + b"ada,ops,2029-01-01T00:00:00Z\nbob,,\ncy,sales,\ndee,,\n")
    assert await run("import-users", "acme", str(path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "changed ada: lab, sales from 2030-01-01T00:00:00+00:00 → lab, ops from 2029-01-01T00:00:00+00:00",
        "changed cy: lab → sales",
        "added dee: no cost center",
        "1 added, 2 changed, 1 unchanged",
    ]
    stored = {row["user_id"]: row["cost_centers"] for row in await rows(database_url, USERS)}
    assert stored["bob"] == '[{"from": null, "cost_center": "ops"}]'
