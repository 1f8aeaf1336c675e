"""`apply`: a file is planned, set up, and then there is nothing to do; everything else of the CLI that administers."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from token_ledger.analytics.verify import verify_database
from token_ledger.cli.declared import read_declared
from token_ledger.cli.main import main
from token_ledger.storage.database import Database
from token_ledger.worker.erasure import Erasures

FILE = """
tenants:
  - name: acme
    time_zone: Europe/Berlin
    users:
      - user: ada
        cost_centers:
          - cost_center: lab
          - {from: 2027-01-01T00:00:00Z, cost_center: ops}
    budgets:
      - {name: user day, selector: {user: "*"}, limits: {tokens: 50000, cost: "5.00"}, window: day}
      - {name: all, selector: {}, limits: {cost: "100"}, window: month, enforcement: soft, rollover: {cost: "10"}}
    policies:
      - {kind: high_token_usage, at_percent: 80, mode: observe}
"""


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKEN_LEDGER_DATABASE_URL", database_url)
    monkeypatch.setenv("TOKEN_LEDGER_DATA_DIR", str(tmp_path))
    return tmp_path


def written(directory: Path, text: str) -> str:
    path = directory / "budgets.yaml"
    path.write_text(text)
    return str(path)


async def run(*arguments: str) -> int:
    """Run a command as a process would: in a thread without a loop."""
    return await asyncio.to_thread(main, arguments)


async def rows(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def test_a_file_is_set_up_once_and_then_there_is_nothing_to_do(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(settings, FILE)
    assert await run("apply", path, "--diff") == 1
    planned = capsys.readouterr().out.splitlines()
    assert planned == [
        "acme: create the tenant",
        "acme: set 1 users (ada)",
        "acme: create the budget 'user day'",
        "acme: create the budget 'all'",
        "acme: set the policy 'high_token_usage'",
    ]
    assert await rows(database_url, "select from tenants where name = 'acme'") == []
    assert await run("apply", path) == 0
    assert capsys.readouterr().out.splitlines() == planned
    for arguments in ((), ("--plan",), ("--diff",), ("--prune",)):
        assert await run("apply", path, *arguments) == 0
        assert capsys.readouterr().out == "nothing to change\n"
    budgets = await rows(database_url, 'select name, "window", limit_nanos, rollover_nanos from budgets order by name')
    assert [tuple(row) for row in budgets] == [
        ("all", "month", 100 * 10**9, 10 * 10**9), ("user day", "day", 5 * 10**9, None),
    ]  # fmt: skip
    audited = await rows(database_url, "select distinct action, actor from audit_log order by 1")
    assert [tuple(row) for row in audited] == [
        ("budget.create", "cli:apply"), ("tenant.create", "cli:apply"), ("trigger.set", "cli:apply"),
        ("users.set", "cli:apply"),
    ]  # fmt: skip
    assert (await verify_database(database_url)).clean


@pytest.mark.parametrize(
    ("old", "new", "arguments", "planned"),
    [
        ("tokens: 50000", "tokens: 60000", (), ["acme: change the budget 'user day': limits"]),
        ("enforcement: soft", "enforcement: hard", (), ["acme: change the budget 'all': enforcement"]),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {tokens: 50000}", (),
         ["acme: archive the budget 'user day'", "acme: create the budget 'user day' anew"]),
        ("window: day", "window: week", (),
         ["acme: archive the budget 'user day'", "acme: create the budget 'user day' anew"]),
        (', rollover: {cost: "10"}', "", (),
         ["acme: archive the budget 'all'", "acme: create the budget 'all' anew"]),
        ("at_percent: 80", "at_percent: 70", (), ["acme: set the policy 'high_token_usage'"]),
        ("cost_center: lab", "cost_center: desk", (), ["acme: set 1 users (ada)"]),
        ("name: all", "name: everything", ("--prune",),
         ["acme: create the budget 'everything'", "acme: archive the budget 'all'"]),
        ("name: all", "name: everything", (), ["acme: create the budget 'everything'"]),
        ("time_zone: Europe/Berlin", "time_zone: Asia/Tokyo", (),
         ["acme: change the calendar from Europe/Berlin (week from day 0, year from month 1) to Asia/Tokyo (week from"
          " day 0, year from month 1), from the next windows on"]),
    ],
)  # fmt: skip
async def test_what_differs_is_changed_and_nothing_else(
    old: str, new: str, arguments: tuple[str, ...], planned: list[str], settings: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await run("apply", written(settings, FILE))
    assert old in FILE
    path = written(settings, FILE.replace(old, new))
    capsys.readouterr()
    assert await run("apply", path, *arguments) == 0
    assert capsys.readouterr().out.splitlines() == planned
    assert await run("apply", path, "--diff", *arguments) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tenants:", "tenant:", "tenants: Field required"),
        ("window: day", "window: fortnight", "tenants.0.budgets.0.window: Input should be"),
        ('cost: "5.00"', "cost: 5.00", "tenants.0.budgets.0.limits.cost: Input should be a valid string"),
        ('user: "*"', 'planet: "*"', "'planet' is no dimension"),
        ("user: ada", "user: 5", "tenants.0.users.0.user: Input should be a valid string"),
        ("name: all", "name: user day", "two entries for the budget 'user day'"),
        ("mode: observe", "mode: maybe", "tenants.0.policies.0.mode"),
        ("time_zone: Europe/Berlin", "time_zone: Mars/Olympus", "is no IANA time zone"),
        ("{from: 2027-01-01T00:00:00Z,", "{from: 2027-01-01,", "write an instant as RFC 3339 does"),
        ("tokens: 50000", "tokens: -1", "greater than or equal to 0"),
        ("  - name: acme", "  - name: acme\n    colour: red", "Extra inputs are not permitted"),
        ("tenants:", "tenants: [", "is not YAML"),
    ],
)
async def test_a_file_that_is_wrong_is_refused_in_one_sentence_and_changes_nothing(
    old: str, new: str, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in FILE
    assert await run("apply", written(settings, FILE.replace(old, new, 1))) == 1
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert await rows(database_url, "select from tenants where name = 'acme'") == []


async def test_stop_resume_users_and_keys(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    capsys.readouterr()
    assert await run("stop", "acme", "--reason", "runaway") == 0
    assert await rows(database_url, "select from tenant_ledgers where stopped_reason = 'runaway'")
    assert await run("resume", "acme") == 0
    assert not await rows(database_url, "select from tenant_ledgers where stopped_reason is not null")
    users = settings / "users.csv"
    users.write_text("user,cost_center,from\nada,lab,\nada,ops,2027-01-01T00:00:00Z\nbob,,\n")
    assert await run("import-users", "acme", str(users)) == 0
    assert [row["user_id"] for row in await rows(database_url, "select user_id from users order by 1")] == [
        "ada",
        "bob",
    ]
    assert await run("erase-user", "acme", "no-such-person") == 1
    assert "there is no such user" in capsys.readouterr().err
    assert await run("erase-user", "acme", "ada") == 0
    assert "under way" in capsys.readouterr().out
    assert await run("erase-user", "acme", "ada") == 1
    assert "being erased already" in capsys.readouterr().err
    database = Database(database_url)
    await Erasures(database, heard_seconds=0).erase_users()
    await database.close()
    assert await run("erase-user", "acme", "ada") == 1
    assert "there is no such user" in capsys.readouterr().err
    assert [row["user_id"] for row in await rows(database_url, "select user_id from users order by 1")] == ["bob"]
    assert not await rows(database_url, "select from audit_log where before::text like '%\"ada\"%'")
    assert not await rows(database_url, "select from audit_log where after::text like '%\"ada\"%'")
    capsys.readouterr()
    assert await run("keys", "acme") == 0
    key_id = capsys.readouterr().out.split()[0]
    assert await run("rotate-key", "acme", key_id, "--overlap-hours", "0") == 0
    assert capsys.readouterr().out.startswith("tl_")
    assert await run("revoke-key", "acme", key_id) == 0
    assert await run("revoke-key", "acme", "nosuchkey") == 1
    assert "there is no API key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nada\n", "the first line names the columns"),
        ("user,cost_center\n,lab\n", "user 1 ('')"),
        ("user,cost_center,from\nada,lab,yesterday\n", "user 1 ('ada')"),
        ("user,cost_center,from\nada,lab,\nada,ops,\n", "cost centers ascend"),
    ],
)
async def test_a_list_of_users_that_is_wrong_is_refused(
    text: str, message: str, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    (settings / "users.csv").write_text(text)
    assert await run("import-users", "acme", str(settings / "users.csv")) == 1
    assert message in capsys.readouterr().err


def test_an_instant_stays_the_text_that_it_was(tmp_path: Path) -> None:
    declared = read_declared(Path(written(tmp_path, FILE)))
    [_, later] = declared.tenants[0].users[0].cost_centers
    assert later.since is not None
    assert later.since.isoformat() == "2027-01-01T00:00:00+00:00"


async def test_the_file_in_the_readme_is_set_up_as_it_says(settings: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    path = written(settings, readme.split("```yaml\n")[1].split("```")[0])
    assert await run("apply", path) == 0
    assert await run("apply", path, "--diff") == 0
