"""token-ledger doctor: everything that can be wrong is found on a real database, with what to do about it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from tests.conftest import with_database
from tests.proof.ledger import Ledger, open_ledger
from token_ledger.cli import doctor
from token_ledger.cli.doctor import Diagnosis, Finding, Level, examine, judge
from token_ledger.config import Settings
from token_ledger.core.batch.administration import SetModel
from token_ledger.core.batch.commands import Quarantine, Record
from token_ledger.core.batch.outcomes import Changed, Quarantined, Recorded
from token_ledger.core.model.model_facts import ModelFacts
from token_ledger.core.model.usage import Usage
from token_ledger.storage.migrations import head_revision
from token_ledger.storage.quarantine import decide_quarantined, find_quarantined
from token_ledger.storage.upkeep.diagnosis import Facts, LongTransaction, read_facts
from token_ledger.storage.upkeep.leadership import Leadership

COMMAND = Path(sys.executable).with_name("token-ledger")


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url) as opened:
        yield opened


@pytest.fixture
async def leader(database_url: str) -> AsyncIterator[Leadership]:
    leadership = Leadership(database_url)
    assert await leadership.claim()
    holding = asyncio.create_task(leadership.hold())
    yield leadership
    holding.cancel()
    leadership.resign()


def _settings(url: str, **fields: Any) -> Settings:
    return Settings(**{"database_url": url, "key_pepper": SecretStr("pepper"), **fields})


async def _examine(url: str, **fields: Any) -> Diagnosis:
    return await examine(_settings(url, **fields), url)


def _found(diagnosis: Diagnosis, check: str) -> Finding:
    [finding] = [finding for finding in diagnosis.findings if finding.check == check]
    return finding


@pytest.mark.usefixtures("leader")
async def test_a_healthy_database_has_no_findings(database_url: str, ledger: Ledger) -> None:
    # The server of the tests does not need to be durable.
    diagnosis = await _examine(database_url, retention_months=3)
    assert [f for f in diagnosis.findings if f.level is not Level.OK and f.check != "durability"] == []
    assert diagnosis.well
    assert [finding.check for finding in diagnosis.findings] == [
        "database", "durability", "autovacuum", "clock", "connections", "long transactions", "schema", "role",
        "row-level security", "partitions", "dead rows", "worker", "books", "price book", "models", "tenants' clocks",
        "holds", "grants", "quarantine", "retention", "pepper",
    ]  # fmt: skip
    assert all(line.startswith(("ok ", "warn")) for line in diagnosis.as_text().splitlines())
    assert "leads" in _found(diagnosis, "worker").found


# What an administrator may do to a database, and the finding that follows.
FAULTS = {
    "schema is older": (
        "update alembic_version set version_num = '2026_11_21_first_schema'", "schema", Level.FAILURE,
        "is 2026_11_21_first_schema, this version needs", "token-ledger migrate",
    ),
    "schema is missing": (
        "drop table alembic_version", "schema", Level.FAILURE, "there is none", "token-ledger migrate",
    ),
    "role owns a table": (
        "alter table runs owner to token_ledger_app", "role", Level.FAILURE, "owns runs", "alter table",
    ),
    "table is not fenced": (
        "alter table runs disable row level security", "row-level security", Level.FAILURE, "runs would show", "enable",
    ),
    "policy is missing": (
        "drop policy tenant_rows on grants", "row-level security", Level.FAILURE, "grants would show", "tenant_rows",
    ),
    "a policy opens the fence": (
        "create policy more on usage_events using (true)", "row-level security", Level.FAILURE,
        "usage_events would show", "no others beside it",
    ),
    "three months ahead are missing": (
        "do $$ begin execute (select string_agg(format('drop table %s', inhrelid::regclass), ';') from pg_inherits"
        " where inhparent = 'usage_events'::regclass and inhrelid::regclass::text <>"
        " 'usage_events_' || to_char(now() at time zone 'UTC', 'YYYY_MM')); end $$",
        "partitions", Level.FAILURE, "none for 2", "token_ledger_add_partitions",
    ),
    "this month is missing too": (
        "drop table usage_events; create table usage_events (like runs) partition by range (created_at)",
        "partitions", Level.FAILURE, "nothing can be booked", "token_ledger_add_partitions",
    ),
    "the last month is missing": (
        "do $$ begin execute (select 'drop table ' || max(inhrelid::regclass::text) from pg_inherits"
        " where inhparent = 'usage_events'::regclass); end $$",
        "partitions", Level.WARNING, "none for 2", "token-ledger worker",
    ),
    "no prices": ("delete from prices", "price book", Level.FAILURE, "is empty", "token-ledger migrate"),
    "old prices": (
        "update prices set added_at = now() - interval '61 days'", "price book", Level.WARNING, "61 days ago", "update",
    ),
    "a hold is overdue": (
        "insert into reservations select (jsonb_populate_record(null::reservations, jsonb_build_object("
        "'tenant_id', tenant_id, 'reservation_id', 1, 'state', 'held', 'user_id', 'a', 'cost_center', 'a',"
        " 'agent_type', 'a', 'request_type', 'a', 'provider', 'a', 'model', 'a', 'requested_model', 'a',"
        " 'input_tokens', 1, 'cached_input_tokens', 0, 'max_output_tokens', 1, 'held_tokens', 1,"
        " 'held_uncached_tokens', 1, 'held_nanos', 1, 'price_id', 1, 'path', '{}'::text, 'created_at', now(),"
        " 'expires_at', now() - interval '3 hours', 'ttl_seconds', 1, 'lease', false, 'held_calls', 1,"
        " 'drawn_tokens', 0, 'drawn_uncached_tokens', 0, 'drawn_nanos', 0, 'drawn_calls', 0, 'changes', 0))).*"
        " from tenants where tenant_id > 0",
        "holds", Level.FAILURE, "should have expired 3 hours ago", "worker",
    ),
    "a grant is overdue": (
        "insert into accounts (tenant_id, account_id, budget_id, budget, subject, window_start, enforcement, counts,"
        " grants_until) select tenant_id, 1, 1, 'a', '{}', now(), 'hard', 'all', now() - interval '3 days'"
        " from tenants where tenant_id > 0",
        "grants", Level.FAILURE, "should have lapsed 3 days ago", "worker",
    ),
    "commits do not wait": (
        "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
        "durability", Level.WARNING, "synchronous_commit", "postgresql.conf",
    ),
    "a month should be gone": (
        "create table usage_events_2020_01 partition of usage_events"
        " for values from ('2020-01-01 00:00:00+00') to ('2020-02-01 00:00:00+00')",
        "retention", Level.WARNING, "usage_events_2020_01 should have been dropped", "worker",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("leader")
async def test_a_fault_is_found(fault: str, database_url: str, ledger: Ledger) -> None:
    done, check, level, found, remedy = FAULTS[fault]
    before = _found(await _examine(database_url, retention_months=3), check)
    await ledger.owner.execute(done)
    diagnosis = await _examine(database_url, retention_months=3)
    finding = _found(diagnosis, check)
    assert finding != before
    assert (finding.level, found in finding.found, remedy in finding.remedy) == (level, True, True), finding
    assert diagnosis.well is (level is not Level.FAILURE)


def test_privileges_of_the_role_are_found(facts: Facts) -> None:
    """Roles belong to the server, which other tests share, so no role is really changed."""
    assert facts.role_powers == []
    for powers, remedy in ((["bypassrls"], "nobypassrls"), (["canlogin", "super"], "nologin nosuper")):
        finding = _found(judge(replace(facts, role_powers=powers), head_revision(), Settings()), "role")
        assert finding.level is Level.FAILURE
        assert remedy in finding.remedy


async def test_nobody_leads(database_url: str) -> None:
    diagnosis = await _examine(database_url)
    assert _found(diagnosis, "worker").level is Level.FAILURE
    assert "nobody leads" in _found(diagnosis, "worker").found
    assert not diagnosis.well


async def test_the_leader_of_another_database_does_not_count(
    server_url: str, database_url: str, ledger: Ledger
) -> None:
    elsewhere = Leadership(server_url)
    try:
        assert await elsewhere.claim()
        assert _found(await _examine(database_url), "worker").level is Level.FAILURE
    finally:
        elsewhere.resign()


async def test_a_transaction_that_holds_a_snapshot_is_found(
    database_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LONG_TRANSACTION_SECONDS", 0)
    other = await asyncpg.connect(database_url, server_settings={"application_name": "someone's notebook"})
    try:
        async with other.transaction(isolation="repeatable_read"):
            await other.fetch("select 1 from accounts")
            facts = await _facts(database_url, long_seconds=0)
            [mine] = [found for found in facts.long_transactions if found.application == "someone's notebook"]
            assert mine.pid == other.get_server_pid()
            shown = judge(replace(facts, long_transactions=[mine]), head_revision(), _settings(database_url))
            finding = _found(shown, "long transactions")
            assert finding.level is Level.WARNING
            assert f"pg_terminate_backend({mine.pid})" in finding.remedy
    finally:
        await other.close()
    assert "someone's notebook" not in str(await _facts(database_url, long_seconds=0))


@pytest.mark.parametrize(
    ("model", "days", "is_told"),
    [("gpt-5.4-mini", 30, True), ("gpt-5.4-mini", -400, True), ("gpt-5.4-mini", 32, False), ("o3", 1, False)],
)
async def test_a_model_in_use_that_ends_soon_or_has_ended_is_found(
    model: str, days: int, is_told: bool, database_url: str, ledger: Ledger
) -> None:
    [name] = await ledger.owner.fetch("select name from tenants where tenant_id = $1", ledger.tenant)
    ends_on = datetime.now(UTC).date() + timedelta(days=days)
    for facts in (ModelFacts(end_of_life=date(2020, 1, 1)), ModelFacts(end_of_life=ends_on)):
        await ledger.ask(SetModel("k", b"x", "openai", model, facts, "root"), Changed)
    assert _found(await _examine(database_url), "models").level is Level.OK, "nobody has used it"
    await ledger.ask(Record("k", b"x", "a", "b", "openai", "gpt-5.4-mini", Usage(5, 5), user="ada"), Recorded)
    finding = _found(await _examine(database_url), "models")
    assert finding.level is (Level.WARNING if is_told else Level.OK)
    assert (f"{name['name']} openai/{model} ({ends_on})" in finding.found) is is_told


async def test_what_waits_in_quarantine_is_found(database_url: str, ledger: Ledger) -> None:
    await ledger.ask(Quarantine("k", b"x", "a", "invalid_request", "no model", {}), Quarantined)
    finding = _found(await _examine(database_url), "quarantine")
    assert (finding.level, "1 items, the oldest of 2" in finding.found) == (Level.WARNING, True)
    async with ledger.database.reading(ledger.tenant) as connection:
        [item] = await find_quarantined(connection, ledger.tenant, state="open", after=None, limit=5)
        number = item.quarantine_id
        await decide_quarantined(connection, ledger.tenant, number, "resolved", "sent again", actor="root")
    assert _found(await _examine(database_url), "quarantine").level is Level.OK


async def test_a_database_that_can_not_be_reached_or_read_is_one_line_and_no_traceback(server_url: str) -> None:
    for url in ("postgresql://127.0.0.1:1/ledger", with_database(server_url, "no_such_database")):
        diagnosis = await _examine(url)
        assert _found(diagnosis, "database").level is Level.FAILURE
        assert "can't be reached" in _found(diagnosis, "database").found
        assert not diagnosis.well
        assert len(diagnosis.as_text().splitlines()) == 2


async def test_a_pepper_in_the_data_directory_is_warned_of_only_with_a_shared_database(
    database_url: str, tmp_path: Path
) -> None:
    several = await _examine(database_url, key_pepper=None)
    alone = await examine(Settings(database_url=None, key_pepper=None, data_dir=tmp_path), database_url)
    assert _found(several, "pepper").level is Level.WARNING
    assert _found(alone, "pepper").level is Level.OK


async def _facts(url: str, long_seconds: float = 60) -> Facts:
    return await read_facts(
        url, months_ahead=3, long_seconds=long_seconds, revision=head_revision(), retention_months=None
    )


# Facts that a test can't bring about on a server that it shares with others.
SERVERS: dict[str, tuple[dict[str, Any], str, Level, str]] = {
    "too old": ({"version": 14, "version_text": "14.9"}, "database", Level.FAILURE, "PostgreSQL 14.9"),
    "just new enough": ({"version": 15, "version_text": "15.0"}, "database", Level.OK, "PostgreSQL 15.0"),
    "clock ahead": ({"clock_seconds_ahead": 7.2}, "clock", Level.WARNING, "7 s ahead of"),
    "clock behind": ({"clock_seconds_ahead": -50.0}, "clock", Level.WARNING, "50 s behind"),
    "clock far ahead": ({"clock_seconds_ahead": 400 * 86_400}, "clock", Level.FAILURE, "400 days ahead of"),
    "clock far behind": ({"clock_seconds_ahead": -90.0}, "clock", Level.FAILURE, "90 s behind"),
    "clock all right": ({"clock_seconds_ahead": -0.2}, "clock", Level.OK, "200 ms"),
    "few connections left": (
        {"connections": 92, "connections_allowed": 97}, "connections", Level.WARNING, "92 of 97",
    ),
    "connections left": ({"connections": 80, "connections_allowed": 97}, "connections", Level.OK, "80 of 97"),
    "no fsync": ({"settings": {"fsync": "off"}}, "durability", Level.WARNING, "fsync is off"),
    "no fsync nor pages": (
        {"settings": {"fsync": "off", "full_page_writes": "off"}}, "durability", Level.WARNING,
        "fsync and full_page_writes are off",
    ),
    "all is written": (
        {"settings": {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}}, "durability", Level.OK, "",
    ),
    "a leader is there": ({"leader": "x", "leader_silent_seconds": 4.0}, "worker", Level.OK, "x leads"),
    "a leader is frozen": ({"leader": "x", "leader_silent_seconds": 6.0}, "worker", Level.FAILURE, "nothing for 6 s"),
    "nobody leads": ({"leader": None}, "worker", Level.FAILURE, "nobody leads"),
    "no autovacuum": ({"settings": {"autovacuum": "off"}}, "autovacuum", Level.FAILURE, "is off"),
    "dead rows": ({"dead_rows": {"accounts": (100, 20_001)}}, "dead rows", Level.WARNING, "accounts has 20001 for 100"),
    "dead rows of a large table": ({"dead_rows": {"accounts": (50_000, 20_001)}}, "dead rows", Level.OK, ""),
    "few dead rows": ({"dead_rows": {"tenant_ledgers": (1, 20_000)}}, "dead rows", Level.OK, ""),
    "prepared and forgotten": (
        {"long_transactions": [LongTransaction(0, "prepared transaction x", 900)]}, "long transactions",
        Level.WARNING, "prepared transaction x",
    ),
    "role is missing": ({"role_powers": None}, "role", Level.FAILURE, "does not exist"),
    "role can't be taken": ({"role_can_be_taken": False}, "role", Level.FAILURE, "not allowed to use"),
}  # fmt: skip


@pytest.fixture(scope="module")
async def facts(shared_url: str) -> Facts:
    return await _facts(shared_url)


@pytest.mark.parametrize("label", SERVERS)
def test_facts_about_a_server_are_judged(label: str, facts: Facts) -> None:
    changes, check, level, found = SERVERS[label]
    if "settings" in changes:
        changes = {"settings": {**facts.settings, **changes["settings"]}}
    finding = _found(judge(replace(facts, **changes), head_revision(), _settings("postgresql://ledger")), check)
    assert (finding.level, found in finding.found) == (level, True), finding


def test_facts_of_a_server_are_plausible(facts: Facts) -> None:
    assert facts.version >= 15
    assert facts.version_text.startswith(str(facts.version))
    assert abs(facts.clock_seconds_ahead) < 60  # the same clock, but seconds pass between two looks at it
    assert 0 < facts.connections < facts.connections_allowed
    assert set(facts.settings) == {"fsync", "full_page_writes", "synchronous_commit", "autovacuum"}


def _run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")}
    return subprocess.run(
        [COMMAND, "doctor", *arguments], capture_output=True, text=True, check=False, timeout=60,
        env=inherited | {"TOKEN_LEDGER_DATABASE_URL": url},
    )  # fmt: skip


@pytest.mark.usefixtures("leader")
async def test_the_command_prints_lines_or_json(database_url: str, ledger: Ledger) -> None:
    done = await asyncio.to_thread(_run, database_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    role: token_ledger_app owns nothing" in done.stdout
    assert "warn  pepper: " in done.stdout
    assert " -> set the same for all processes" in done.stdout
    await ledger.owner.execute("alter table runs disable row level security")
    done = await asyncio.to_thread(_run, database_url, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["well"] is False
    [failed] = [finding for finding in said["findings"] if finding["level"] == "FAIL"]
    assert set(failed) == {"check", "level", "found", "remedy"}
    assert failed["check"] == "row-level security"
