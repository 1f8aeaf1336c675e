"""`apply`: a file is planned, set up, and then nothing is left to do; commands for tenants, keys and users."""

import getpass
import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import rows, run, without_database
from token_ledger.cli.actor import actor
from token_ledger.cli.connections import open_ledger
from token_ledger.cli.setup_file import read_setup_file
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Recorded
from token_ledger.core.model.usage import Usage
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import Database
from token_ledger.worker.erasures import Erasures

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
    triggers:
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
        "acme: set the trigger 'high_token_usage'",
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


async def test_a_model_named_in_another_way_than_in_the_books_is_set_up_once(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FILE.replace('selector: {user: "*"}', 'selector: {user: "*", model: [GPT-5.4-2026-03-05, o1-pro]}')
    assert await run("apply", written(settings, text)) == 0
    capsys.readouterr()
    assert await run("apply", written(settings, text), "--diff") == 0
    assert capsys.readouterr().out == "nothing to change\n"


async def test_an_override_with_another_name_of_a_model_is_set_up_once(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    override = "{subject: {user: ada, model: GPT-5.4-2026-03-05}, limits: {tokens: 9000}}"
    text = FILE.replace('selector: {user: "*"}', f'selector: {{user: "*", model: "*"}}, overrides: [{override}]')
    assert await run("apply", written(settings, text)) == 0
    capsys.readouterr()
    assert await run("apply", written(settings, text), "--diff") == 0
    assert capsys.readouterr().out == "nothing to change\n"
    assert await run("apply", written(settings, text.replace("2026-03-05", "mini")), "--diff") == 1
    assert capsys.readouterr().out == "acme: change the budget 'user day': overrides\n"


async def test_another_spelling_of_the_names_of_a_file_is_nothing_to_do(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("apply", written(settings, FILE)) == 0
    capsys.readouterr()
    names = ("name: acme", "user: ada", "cost_center: lab", "name: user day")
    text = FILE
    for name in names:
        field, value = name.split(": ")
        text = text.replace(name, f'{field}: "\\u00A0{value} "', 1)
    assert await run("apply", written(settings, text), "--diff") == 0
    assert capsys.readouterr().out == "nothing to change\n"


@pytest.mark.parametrize(
    ("old", "new", "arguments", "planned"),
    [
        ("tokens: 50000", "tokens: 60000", (), ["acme: change the budget 'user day': limits"]),
        ("enforcement: soft", "enforcement: hard", (), ["acme: change the budget 'all': enforcement"]),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {tokens: 50000}", (),
         ["acme: change the budget 'user day': limits (no more cost)"]),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {calls: 5}", (),
         ["acme: change the budget 'user day': limits (no more tokens, cost)"]),
        ('user: "*"', 'user: [bob, ada]', (),
         ["acme: replace the budget 'user day' by another, on which nothing is spent: selector"]),
        ('user: "*"', 'user: team-*', (),
         ["acme: replace the budget 'user day' by another, on which nothing is spent: selector"]),
        ('{tokens: 50000, cost: "5.00"}, window: day', '{tokens: 50000, cost: "5.00"}, window: day, overrides:'
         ' [{subject: {user: ada}, limits: {tokens: 100000}}, {subject: {user: bob}, limits: null}]', (),
         ["acme: change the budget 'user day': overrides"]),
        ("enforcement: soft", "enforcement: soft, thresholds: [80]", (), ["acme: change the budget 'all': thresholds"]),
        ("window: day", "window: week", (),
         ["acme: replace the budget 'user day' by another, on which nothing is spent: window"]),
        ('selector: {}', 'selector: {cost_center: lab}', (),
         ["acme: replace the budget 'all' by another, on which nothing is spent: selector"]),
        (', rollover: {cost: "10"}', "", (), ["acme: change the budget 'all': rollover (no more cost)"]),
        ("at_percent: 80", "at_percent: 70", (), ["acme: set the trigger 'high_token_usage'"]),
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


async def test_a_planned_calendar_is_shown_and_can_be_corrected(
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
        ("triggers:", "policies:", "tenants.0: `policies` is now called `triggers`; rename it"),
        ("window: day", "window: fortnight", "tenants.0.budgets.0.window: Input should be"),
        ('cost: "5.00"', "cost: 5.00",
         'tenants.0.budgets.0.limits.cost: 5.0 is not text; put it in quotes: "5.0"'),
        ('user: "*"', 'planet: "*"', "'planet' is no dimension"),
        ("user: ada", "user: 5", 'tenants.0.users.0.user: 5 is not text; put it in quotes: "5"'),
        ("name: all", "name: user day", "two entries for the budget 'user day'"),
        ("mode: observe", "mode: maybe", "tenants.0.triggers.0.mode"),
        ("time_zone: Europe/Berlin", "time_zone: Mars/Olympus", "is not an IANA time zone"),
        ("{from: 2027-01-01T00:00:00Z,", "{from: 2027-01-01,", "write an instant as RFC 3339 does"),
        ("tokens: 50000", "tokens: -1", "greater than or equal to 0"),
        ("  - name: acme", "  - name: acme\n    colour: red", "Extra inputs are not permitted"),
        ("tenants:", "tenants: [", "is not YAML"),
        (FILE, "", "is empty: it must have `tenants:`"),
        (FILE, "- acme", "budgets.yaml: expected names and values, such as `name: value`, not a list"),
        (FILE, "tenants: [acme]", 'tenants.0: expected names and values, such as `name: value`, not "acme"'),
        ("name: acme", 'name: ""', "tenants.0.name: a name has at least one character"),
        ("user: ada", 'user: "ad\\u200Ba"', "tenants.0.users.0.user: character 3 is U+200B (ZERO WIDTH SPACE)"),
        ("name: all", "name: " + "\u7814" * 86, "tenants.0.budgets.1.name: a name has at most 256 bytes of UTF-8"),
        ("- user: ada", '- user: "zo\\u00EB"\n      - user: " zoe\\u0308 "', "two entries for the user 'zo\u00eb'"),
        ("name: all", 'name: "user day "', "two entries for the budget 'user day'"),
        ("window: day}", "window: day, window: hour}", "'window' is given twice in"),
        ("tenants:", "tenants: []\ntenants:", "'tenants' is given twice in"),
        ("- user: ada", "- user: ada\n      - user: ada", "two entries for the user 'ada'"),
        ("limits: {cost:", "limits: {}, rollover: {cost:", "'rollover' is given twice"),
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {}",
         "tenants.0.budgets.0.limits: give a limit in tokens, cost or calls"),
        ("{from: 2027-01-01T00:00:00Z, cost_center: ops}", "cost_center: ops",
         "tenants.0.users.0.cost_centers: cost centers ascend by `from`"),
        ("window: month", "window: total",
         "acme: create the budget 'all': a window of total does not end, so nothing rolls over"),
    ],
)  # fmt: skip
async def test_a_wrong_file_is_refused_in_one_sentence_and_changes_nothing(
    old: str, new: str, message: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in FILE
    path = written(settings, FILE.replace(old, new, 1))
    for arguments in ((), ("--plan",)):
        assert await run("apply", path, *arguments) == 1
        complaint = without_database(capsys.readouterr().err)
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
        (
            "name: globex",
            "name: globex\n    time_zone: Mars/Olympus",
            "tenants.1.time_zone: 'Mars/Olympus' is not an IANA",
        ),
        (
            "{cost_center: lab}",
            "{cost_center: lab}, {cost_center: ops}",
            "tenants.1.users.0.cost_centers: cost centers",
        ),
        (
            "window: day",
            "window: run, rollover: {calls: 1}",
            "globex: create the budget 'cap': a window of run does not end",
        ),
        ("limits: {calls: 5}", "limits: {}", "tenants.1.budgets.0.limits: give a limit"),
        ("name: globex", "name: acme", "two entries for the tenant 'acme'"),
    ],
)
async def test_an_error_in_the_second_tenant_keeps_the_first_from_being_created(
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
        assert "a window of total does not end, so nothing rolls over" in capsys.readouterr().err
        assert await rows(database_url, BUDGETS) == before


async def test_a_budget_is_replaced_in_one_step_with_one_entry_in_the_audit_log(
    settings: Path, database_url: str
) -> None:
    await run("apply", written(settings, FILE))
    path = written(settings, FILE.replace("window: day", "window: week"))
    assert await run("apply", path) == 0
    assert [tuple(row) for row in await rows(database_url, BUDGETS)] == [("all", "month"), ("user day", "week")]
    # Both rows have the instant of the same batch.
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


async def test_what_a_file_no_longer_says_goes_and_what_is_spent_stays(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FILE.replace("window: day}", "window: day, rollover: {tokens: 5}, thresholds: [80]}")
    text = text.replace("window: day,", "window: day, overrides: [{subject: {user: ada}, limits: {tokens: 9000}}],")
    await run("apply", written(settings, text))
    [tenant] = await rows(database_url, "select tenant_id from tenants where name = 'acme'")

    async def use() -> None:
        async with open_ledger(database_url) as (_, commits):
            for key in ("one", "two"):
                event = Record(
                    f"{key} {len(spent)}", b"x", "api", "agent", "openai", "gpt-5.4", Usage(1_500, 0), user="ada"
                )
                assert isinstance(await commits.submit(tenant["tenant_id"], event), Recorded)

    balances = "select settled_tokens, limit_tokens, limit_nanos, limit_calls, thresholds from accounts"
    spent: list[int] = []
    await use()
    capsys.readouterr()
    for old, new, planned, after in (
        ('limits: {tokens: 50000, cost: "5.00"}', "limits: {tokens: 50000}", "limits (no more cost)",
         (6_000, 9_000, None, None, [80])),
        (", overrides: [{subject: {user: ada}, limits: {tokens: 9000}}]", "", "overrides",
         (9_000, 50_000, None, None, [80])),
        ("limits: {tokens: 50000}", "limits: {calls: 70}", "limits (no more tokens)", (12_000, None, None, 70, [80])),
        (", rollover: {tokens: 5}, thresholds: [80]", "", "thresholds, rollover (no more tokens)",
         (15_000, None, None, 70, [50, 75, 90, 100])),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
        path = written(settings, text)
        for arguments in (("--plan",), ()):
            await run("apply", path, *arguments)
            assert capsys.readouterr().out.splitlines() == [f"acme: change the budget 'user day': {planned}"]
        spent.append(0)
        await use()
        assert [tuple(row) for row in await rows(database_url, f"{balances} where budget = 'user day'")] == [after]
    assert (await verify_database(database_url)).clean


async def test_one_change_that_the_ledger_would_refuse_prevents_all_others(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("apply", written(settings, FILE))
    capsys.readouterr()
    changed = FILE.replace("window: month", "window: total").replace("tokens: 50000", "tokens: 60000")
    for arguments in (("--plan",), ()):
        assert await run("apply", written(settings, changed + OTHER), *arguments) == 1
        assert "a window of total does not end, so nothing rolls over" in capsys.readouterr().err
    assert await rows(database_url, "select from tenants where name = 'globex'") == []
    assert await rows(database_url, "select from budgets where limit_tokens = 60000") == []


async def test_stop_resume_users_and_keys(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    capsys.readouterr()
    assert await run("stop-tenant", "acme", "--reason", "runaway") == 0
    assert await rows(database_url, "select from tenant_ledgers where stopped_reason = 'runaway'")
    assert await run("resume-tenant", "acme") == 0
    assert not await rows(database_url, "select from tenant_ledgers where stopped_reason is not null")
    users = settings / "users.csv"
    users.write_text("user,cost_center,from\nada,lab,\nada,ops,2027-01-01T00:00:00Z\nbob,,\n")
    assert await run("import-users", "acme", str(users)) == 0
    assert [row["user_id"] for row in await rows(database_url, "select user_id from users order by 1")] == [
        "ada",
        "bob",
    ]
    assert await run("erase-user", "acme", "no-such-person") == 1
    assert "nothing is known of this user" in capsys.readouterr().err
    assert await run("erase-user", "acme", "ada") == 0
    assert "under way" in capsys.readouterr().out
    assert await run("erase-user", "acme", "ada") == 1
    assert "being erased already" in capsys.readouterr().err
    database = Database(database_url)
    await Erasures(database, visible_seconds=0).erase_users()
    await database.close()
    assert await run("erase-user", "acme", "ada") == 1
    assert "nothing is known of this user" in capsys.readouterr().err
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
    await run("stop-tenant", "acme")
    await run("resume-tenant", "acme")
    users = settings / "users.csv"
    users.write_text("user,cost_center\nada,lab\n")
    await run("import-users", "acme", str(users))
    await run("erase-user", "acme", "ada")
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
def test_a_user_without_a_name_is_logged_by_number(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise error("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", fails)
    assert actor() == f"cli:{os.getuid()}"


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 201, "bell\a"])
async def test_names_that_the_api_refuses_are_refused(
    name: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("tenant", "acme")
    [before] = await rows(database_url, "select count(*) from audit_log")
    capsys.readouterr()
    for command, what in (
        (("tenant", name), "the tenant's name"), (("key", "acme", "--name", name), "--name"),
        (("stop-tenant", "acme", "--reason", name), "--reason"), (("erase-user", "acme", name), "user"),
    ):  # fmt: skip
        assert await run(*command) == 1
        said = without_database(capsys.readouterr().err)
        assert said.startswith(f"token-ledger: {what} {name!r}")
        reasons = ("must have 1 to 200 characters", "a control character", "at least one", "at most 200 characters")
        assert any(reason in said for reason in reasons)
        assert said.count("\n") == 1
    assert await rows(database_url, "select count(*) from audit_log") == [before]


def test_an_instant_is_read_as_text_and_not_by_yaml(tmp_path: Path) -> None:
    declared = read_setup_file(Path(written(tmp_path, FILE)))
    [_, later] = declared.tenants[0].users[0].cost_centers
    assert later.since is not None
    assert later.since.isoformat() == "2027-01-01T00:00:00+00:00"


async def test_the_file_in_the_documents_is_set_up_as_it_says(settings: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "start.md").read_text(encoding="utf-8")
    path = written(settings, page.split('```yaml title="budgets.yaml"\n')[1].split("```")[0])
    assert await run("apply", path) == 0
    assert await run("apply", path, "--diff") == 0


PRICES = """
tenants:
  - name: acme
    prices:
      - {provider: azure, model: house-model, rates: {base: {input: "2.50", output: "8"}}}
      - {provider: ollama, model: "*", rates: {base: {input: "0", output: "0"}}}
      - provider: house
        model: graduated
        rates: {base: {input: "2", output: "9"}, tiers: [{above: 5000, rates: {input: "1"}}], tier_mode: marginal}
      - provider: openai
        model: gpt-5.4
        valid_from: 2099-01-01T00:00:00Z
        rates: {base: {input: "2", output: "12"}, tiers: [{above: 272000, rates: {input: "4", output: "18"}}]}
    models:
      - {provider: azure, model: house-model, capabilities: [tools], end_of_life: "2027-03-01"}
    aliases:
      - {provider: azure, model: prod-chat, stands_for: {provider: azure, model: house-model}}
"""


async def test_prices_and_aliases_are_set_up_once_and_changed_where_they_differ(
    settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(settings, PRICES)
    for arguments in (("--plan",), ()):
        assert await run("apply", path, *arguments) == 0
        assert capsys.readouterr().out.splitlines() == [
            "acme: create the tenant",
            "acme: set the price of azure/house-model: input 2.5, output 8",
            "acme: set the price of ollama/*: free",
            "acme: set the price of house/graduated: input 2, output 9; input beyond 5,000 tokens input 1",
            "acme: set the price of openai/gpt-5.4 from 2099-01-01T00:00:00+00:00 on: input 2, output 12;"
            " above 272,000 input tokens input 4, output 18",
            "acme: azure/prod-chat stands for azure/house-model",
            "acme: azure/house-model: can tools; served until 2027-03-01",
        ]
    for arguments in ((), ("--diff",)):
        assert await run("apply", path, *arguments) == 0
        assert capsys.readouterr().out == "nothing to change\n"
    changed = (
        PRICES.replace('"8"', '"9"')
        .replace("stands_for: {provider: azure, model: house-model}", "stands_for: null")
        .replace('rates: {input: "1"}}], tier_mode: marginal', 'rates: {input: "1", output: "9"}}], tier_mode: cliff')
    )
    assert await run("apply", written(settings, changed)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "acme: set the price of azure/house-model: input 2.5, output 9",
        "acme: set the price of house/graduated: input 2, output 9; above 5,000 input tokens input 1, output 9",
        "acme: azure/prod-chat stands for nothing",
    ]
    assert (await verify_database(database_url)).clean


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('output: "8"', "output: 8", "tenants.0.prices.0.rates.base.output: 8 is not text; put it in quotes"),
        (', output: "8"', "", "tenants.0.prices.0.rates: there is no rate of output"),
        ('end_of_life: "2027-03-01"', "max_output_tokens: 0", "tenants.0.models.0.max_output_tokens: "),
        ("model: house-model, capab", "model: nobody, capab", "no price is known for model 'nobody'"),
        ("tier_mode: marginal", "tier_mode: graduated", "tenants.0.prices.2.rates.tier_mode: "),
        ('{input: "1"}', '{input: "1", output: "9"}', "tenants.0.prices.2.rates: 'output' is no kind of input"),
        ('output: "8"', 'output: "8", smell: "1"', "'smell' is no kind that has a rate"),
        ("model: prod-chat, stands_for: {provider: azure, model: house-model}",
         "model: prod-chat, stands_for: {provider: azure, model: house-modle}",
         "azure/prod-chat stands for azure/house-modle: no price is known for model 'house-modle'"),
        ("{provider: ollama, model", "{provider: o*, model", "tenants.0.prices.1.provider: a provider is no pattern"),
        ("ollama, model: \"*\"", "azure, model: house-model", "two entries for the price 'azure/house-model from now"),
    ],
)  # fmt: skip
async def test_a_wrong_price_is_refused_with_the_whole_file(
    old: str, new: str, complaint: str, settings: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in PRICES
    assert await run("apply", written(settings, PRICES.replace(old, new))) == 1
    assert complaint in capsys.readouterr().err
    assert await rows(database_url, "select from tenants where name = 'acme'") == []
