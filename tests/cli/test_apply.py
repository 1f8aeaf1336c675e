"""`apply`: a file is planned, set up, and then there is nothing to do; everything else of the CLI that administers."""

import getpass
import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import rows, run
from token_ledger.analytics.verify import verify_database
from token_ledger.cli.actor import actor
from token_ledger.cli.declared import read_declared

ACTOR = f"cli:{getpass.getuser()}"
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


def written(directory: Path, text: str) -> str:
    path = directory / "budgets.yaml"
    path.write_text(text)
    return str(path)


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
        ("budget.create", ACTOR), ("tenant.create", ACTOR), ("trigger.set", ACTOR), ("users.set", ACTOR),
    ]  # fmt: skip
    assert (await verify_database(database_url)).clean


@pytest.mark.parametrize(
    ("old", "new", "arguments", "planned"),
    [
        ("tokens: 50000", "tokens: 60000", (), ["acme: change the budget 'user day': limits"]),
        ("enforcement: soft", "enforcement: hard", (), ["acme: change the budget 'all': enforcement"]),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {tokens: 50000}", (),
         ["acme: replace the budget 'user day' by another, on which nothing is spent: limits"]),
        ("window: day", "window: week", (),
         ["acme: replace the budget 'user day' by another, on which nothing is spent: window"]),
        ('selector: {}', 'selector: {cost_center: lab}', (),
         ["acme: replace the budget 'all' by another, on which nothing is spent: selector"]),
        (', rollover: {cost: "10"}', "", (),
         ["acme: replace the budget 'all' by another, on which nothing is spent: rollover"]),
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


async def test_a_planned_calendar_is_told_of_and_put_right(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("apply", written(settings, FILE))
    tokyo, berlin = (f"{zone} (week from day 0, year from month 1)" for zone in ("Asia/Tokyo", "Europe/Berlin"))
    await rows(
        database_url,
        "insert into calendar_changes select tenant_id, '2999-01-01Z', 'Asia/Tokyo', 0, 1 from tenants"
        " where name = 'acme'",
    )
    capsys.readouterr()
    path = written(settings, FILE.replace("Europe/Berlin", "Asia/Tokyo"))
    assert await run("apply", path, "--diff") == 0
    planned = f"acme: planned for the calendar: {tokyo} from 2999-01-01T00:00:00+00:00"
    assert capsys.readouterr().out.splitlines() == [planned, "nothing to change"]
    path = written(settings, FILE)
    assert await run("apply", path) == 0
    corrected = f"acme: keep the calendar {berlin}, in place of {tokyo} from 2999-01-01T00:00:00+00:00"
    assert capsys.readouterr().out.splitlines() == [corrected]
    assert await run("apply", path, "--diff") == 0
    assert "Asia/Tokyo" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tenants:", "tenant:", "tenants: Field required"),
        ("window: day", "window: fortnight", "tenants.0.budgets.0.window: Input should be"),
        ('cost: "5.00"', "cost: 5.00",
         'tenants.0.budgets.0.limits.cost: 5.0 is no text; write it in quotes, such as "5.0"'),
        ('user: "*"', 'planet: "*"', "'planet' is no dimension"),
        ("user: ada", "user: 5", 'tenants.0.users.0.user: 5 is no text; write it in quotes, such as "5"'),
        ("name: all", "name: user day", "two entries for the budget 'user day'"),
        ("mode: observe", "mode: maybe", "tenants.0.policies.0.mode"),
        ("time_zone: Europe/Berlin", "time_zone: Mars/Olympus", "is no IANA time zone"),
        ("{from: 2027-01-01T00:00:00Z,", "{from: 2027-01-01,", "write an instant as RFC 3339 does"),
        ("tokens: 50000", "tokens: -1", "greater than or equal to 0"),
        ("  - name: acme", "  - name: acme\n    colour: red", "Extra inputs are not permitted"),
        ("tenants:", "tenants: [", "is not YAML"),
        (FILE, "", "says nothing: it begins with `tenants:`"),
        (FILE, "- acme", "budgets.yaml: names and values belong here, such as `name: value`, not a list"),
        (FILE, "tenants: [acme]", 'tenants.0: names and values belong here, such as `name: value`, not "acme"'),
        ("name: acme", 'name: ""', "tenants.0.name: String should have at least 1 character"),
        ("window: day}", "window: day, window: hour}", "'window' stands twice in"),
        ("tenants:", "tenants: []\ntenants:", "'tenants' stands twice in"),
        ("- user: ada", "- user: ada\n      - user: ada", "two entries for the user 'ada'"),
        ("limits: {cost:", "limits: {}, rollover: {cost:", "'rollover' stands twice"),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {}",
         "tenants.0.budgets.0.limits: a budget limits tokens, cost or calls"),
        ("{from: 2027-01-01T00:00:00Z, cost_center: ops}", "cost_center: ops",
         "tenants.0.users.0.cost_centers: cost centers ascend by `from`"),
        ("window: month", "window: total",
         "acme: create the budget 'all': nothing rolls over from a window that does not end (total)"),
    ],
)  # fmt: skip
async def test_a_file_that_is_wrong_is_refused_in_one_sentence_and_changes_nothing(
    old: str, new: str, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in FILE
    path = written(settings, FILE.replace(old, new, 1))
    for arguments in ((), ("--plan",)):
        assert await run("apply", path, *arguments) == 1
        complaint = capsys.readouterr().err
        assert message in complaint
        assert complaint.count("\n") == 1
    assert await rows(database_url, "select from tenants where name = 'acme'") == []


OTHER = """
  - name: globex
    budgets:
      - {name: cap, selector: {}, limits: {calls: 5}, window: day}
    users:
      - {user: bob, cost_centers: [{cost_center: lab}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: globex", "name: globex\n    time_zone: Mars/Olympus", "tenants.1.time_zone: 'Mars/Olympus' is no IANA"),
        (
            "{cost_center: lab}",
            "{cost_center: lab}, {cost_center: ops}",
            "tenants.1.users.0.cost_centers: cost centers",
        ),
        ("window: day", "window: run, rollover: {calls: 1}", "globex: create the budget 'cap': nothing rolls over"),
        ("limits: {calls: 5}", "limits: {}", "tenants.1.budgets.0.limits: a budget limits"),
        ("name: globex", "name: acme", "two entries for the tenant 'acme'"),
    ],
)
async def test_what_is_wrong_with_the_second_tenant_keeps_the_first_from_being_made(
    old: str, new: str, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in OTHER
    path = written(settings, FILE + OTHER.replace(old, new))
    for arguments in ((), ("--plan",)):
        assert await run("apply", path, *arguments) == 1
        assert message in capsys.readouterr().err
    assert await rows(database_url, "select from tenants where tenant_id > 0") == []
    assert await run("apply", written(settings, FILE + OTHER)) == 0


BUDGETS = 'select name, "window" from budgets where archived_at is null order by name'


async def test_a_budget_that_can_not_be_replaced_stays(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("apply", written(settings, FILE))
    before = await rows(database_url, BUDGETS)
    path = written(settings, FILE.replace("window: month", "window: total").replace("window: day", "window: hour"))
    for arguments in ((), ("--plan",)):
        assert await run("apply", path, *arguments) == 1
        assert "nothing rolls over from a window that does not end" in capsys.readouterr().err
        assert await rows(database_url, BUDGETS) == before


async def test_a_budget_is_replaced_in_one_step_with_one_entry_in_the_audit_log(
    settings: Path, database_url: str
) -> None:
    await run("apply", written(settings, FILE))
    path = written(settings, FILE.replace("window: day", "window: week"))
    assert await run("apply", path) == 0
    assert [tuple(row) for row in await rows(database_url, BUDGETS)] == [("all", "month"), ("user day", "week")]
    # The instant of a batch is its own: the old one goes and the new one comes in the same.
    together = await rows(
        database_url,
        "select o.budget_id::text as old, n.budget_id::text as new from budgets as o join budgets as n"
        " on o.tenant_id = n.tenant_id and o.archived_at = n.created_at where o.name = 'user day'",
    )
    entries = await rows(
        database_url,
        "select target, before ->> 'budget_id' as old, before ->> 'window' as was, after ->> 'window' as now"
        " from audit_log where action like 'budget.%' and before is not null",
    )
    assert [tuple(row) for row in entries] == [(together[0]["new"], together[0]["old"], "day", "week")]
    assert (await verify_database(database_url)).clean


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
    assert await run("erase-user", "acme", "ada") == 0
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


async def test_the_audit_log_says_who_did_what_on_the_command_line(
    settings: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    await run("tenant", "acme", "--time-zone", "Asia/Tokyo")
    await run("key", "acme")
    await run("key", "-", "--role", "operator")
    [key] = await rows(database_url, "select key_id from api_keys where role = 'agent'")
    await run("rotate-key", "acme", key["key_id"])
    await run("revoke-key", "acme", key["key_id"])
    await run("stop", "acme")
    await run("resume", "acme")
    await run("erase-user", "acme", "ada")
    users = settings / "users.csv"
    users.write_text("user,cost_center\nada,lab\n")
    await run("import-users", "acme", str(users))
    await run("apply", written(settings, FILE))
    entries = await rows(database_url, "select distinct action, actor from audit_log order by 1")
    assert [tuple(row) for row in entries] == [
        (action, "cli:grace")
        for action in ("budget.create", "calendar.set", "key.create", "key.revoke", "key.rotate", "tenant.create",
                       "tenant.resume", "tenant.stop", "trigger.set", "user.erase", "users.set")
    ]  # fmt: skip
    [made] = await rows(database_url, "select tenant_id, target, after from audit_log where action = 'tenant.create'")
    assert made["target"] == str(made["tenant_id"])
    assert json.loads(made["after"]) == {
        "name": "acme", "time_zone": "Asia/Tokyo", "week_start": 0, "fiscal_month": 1,
    }  # fmt: skip


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_who_has_no_name_has_a_number(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise error("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", fails)
    assert actor() == f"cli:{os.getuid()}"


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 201, "bell\a"])
async def test_names_are_those_that_the_api_takes(
    name: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    [before] = await rows(database_url, "select count(*) from audit_log")
    capsys.readouterr()
    for command, what in (
        (("tenant", name), "the tenant's name"), (("key", "acme", "--name", name), "--name"),
        (("stop", "acme", "--reason", name), "--reason"), (("erase-user", "acme", name), "user"),
    ):  # fmt: skip
        assert await run(*command) == 1
        said = capsys.readouterr().err
        assert said == f"token-ledger: {what} {name!r} must have 1 to 200 characters, all of them printable\n"
    assert await rows(database_url, "select count(*) from audit_log") == [before]


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
