"""Every statement keeps the forms that let the schema be distributed by tenant (see `sql_forms`)."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import TextClause, event

import token_ledger
from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import Ledger, open_ledger
from tests.storage.sql_forms import faults, source, writes
from token_ledger.core.batch.administration import EraseUser, SetUsers
from token_ledger.core.batch.outcomes import Changed
from token_ledger.core.model.principal import Role
from token_ledger.core.model.tenant import User
from token_ledger.storage.api_keys import add_key, revoke_key, rotate_key
from token_ledger.storage.schema.all_tables import metadata
from token_ledger.storage.upkeep import folding
from token_ledger.storage.write import rollups
from token_ledger.storage.write.statements import ArrayStatement
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.retention import Retention
from token_ledger.worker.rollups import RollupFolding

BROKEN = {
    "a list of tenants as a parameter": "select set_config('app.tenants', $1, true)",
    "a schema by name": "select relname from pg_class where relnamespace = 'public'::regnamespace",
    "rows by their place": "delete from reservations where tenant_id = $1 and ctid = any ($2)",
    "the size of a table": "select pg_relation_size('reservations')",
    "columns beside the name": "with gone (id) as (select 1) select * from gone",
    "columns beside the name, later": "with a as (select 1), gone (id, n) as materialized (select 1, 2) select 1",
    "an update of all tenants": "update reservations set state = 'held' where reservation_id = $1",
    "a delete of all tenants": "with gone as (delete from runs returning run_id) select tenant_id from gone",
    "an unchecked insert": "insert into runs (tenant_id, run_id) select * from unnest($1::bigint[], $2::bigint[])",
    "an unchecked insert within": "with kept as (insert into runs (tenant_id) select 1) insert into run_steps"
    " (tenant_id) select 1 returning 1",
    "an instant that is not a parameter": "update runs set ended_at = now() where tenant_id = $1",
}  # fmt: skip


@pytest.mark.parametrize("label", BROKEN)
def test_a_statement_that_breaks_a_rule_is_found(label: str) -> None:
    assert len(faults(BROKEN[label])) == 1


def _constants() -> Iterator[tuple[str, str]]:
    for module in pkgutil.walk_packages(token_ledger.__path__, "token_ledger."):
        if not module.name.startswith(("token_ledger.storage.", "token_ledger.proof.", "token_ledger.reports.")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            text = value.text if isinstance(value, ArrayStatement | TextClause) else value
            if isinstance(text, str) and text.lstrip().startswith(("select", "insert", "update", "delete", "with")):
                yield f"{module.name}.{name}", text
    yield from ((rollup.row.name, rollups.statement_of((rollup,))) for rollup in rollups.ROLLUPS)


def test_every_statement_keeps_the_forms() -> None:
    constants = dict(_constants())
    assert len([text for text in constants.values() if list(writes(text))]) > 30
    assert {name: found for name, text in constants.items() if (found := faults(text))} == {}


async def test_every_function_of_the_schema_keeps_the_forms(shared_url: str) -> None:
    connection = await asyncpg.connect(shared_url)
    try:
        functions = await connection.fetch(
            "select proname, prosrc, proconfig from pg_proc where proname like 'token_ledger_%'"
        )
        sums = [table for table in metadata.tables if table.endswith(("_usage", "_checkpoints"))]
        added = {table: await connection.fetchval("select token_ledger_adding($1, 'page')", table) for table in sums}
    finally:
        await connection.close()
    sources = {row["proname"]: source(row["prosrc"]) for row in functions} | added
    assert len(sources) > 20
    del sources["token_ledger_adding"]  # has columns only once it is called, as it is above
    assert {name: found for name, text in sources.items() if (found := faults(text))} == {}
    paths = {path for row in functions for path in row["proconfig"] or () if path.startswith("search_path=")}
    assert paths == {"search_path=public, pg_temp"}, "that of the schema it was made in"


class Sent:
    """What the service's connections have sent, a list of statements for every transaction."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self._open: dict[int, list[str]] = {}

    def note(self, connection: object, statement: str) -> None:
        """Add a statement to the transaction of its connection."""
        name = id(connection)
        if statement.lower().startswith("begin"):
            self._open[name] = []
        elif statement.lower().rstrip(";") in ("commit", "rollback"):
            self.transactions.append(self._open.pop(name, []))
        else:
            self._open.setdefault(name, []).append(statement)


@pytest.fixture
async def sent(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Ledger, Sent]]:
    """A tenant whose connections are listened to."""
    heard = Sent()

    async def listen(connection: Any) -> None:
        connection.add_query_logger(lambda record: heard.note(connection, record.query))

    monkeypatch.setattr(rollups, "SEGMENT_BITS", 0)  # so that there is something to fold
    monkeypatch.setattr(folding, "SEGMENT_BITS", 0)
    monkeypatch.setattr(asyncpg, "create_pool", partial(asyncpg.create_pool, init=listen))
    async with open_ledger(database_url) as ledger:
        engine = ledger.database.readers.sync_engine
        event.listen(engine, "begin", lambda connection: heard.note(connection, "begin"))
        event.listen(engine, "commit", lambda connection: heard.note(connection, "commit"))
        event.listen(engine, "rollback", lambda connection: heard.note(connection, "rollback"))
        event.listen(
            engine, "before_cursor_execute",
            lambda connection, cursor, statement, *rest: heard.note(connection, statement),
        )  # fmt: skip
        yield ledger, heard


async def test_whatever_is_sent_keeps_the_forms(sent: tuple[Ledger, Sent]) -> None:
    ledger, heard = sent
    await _make_every_kind_of_row(ledger)
    statements = {statement for transaction in heard.transactions for statement in transaction}
    written = {table for statement in statements for _, table, _ in writes(statement)}
    assert written >= {"usage_events", "reservations", "accounts", "runs", "grants", "users", "audit_log", "api_keys"}
    assert {statement: found for statement in statements if (found := faults(statement))} == {}

    names = [row["proname"] for row in await ledger.owner.fetch("select proname from pg_proc where prosecdef")]
    called, wrong = set(), []
    for transaction in heard.transactions:
        has_written = False
        for statement in transaction:
            calls = {name for name in names if f"{name}(" in statement}
            called |= calls
            if calls and has_written:
                wrong.append(transaction)
            has_written |= bool(list(writes(statement)))
    assert called >= {"token_ledger_fold", "token_ledger_erase", "token_ledger_checkpoint", "token_ledger_forget"}
    assert wrong == [], "functions that run as the owner, after a write of the same transaction"


async def _make_every_kind_of_row(ledger: Ledger) -> None:
    await make_every_kind_of_row(ledger)
    await ledger.ask(SetUsers("k", b"x", (User("ada", ((None, "research"),)),), "root"), Changed)
    async with ledger.database.reading(ledger.tenant) as connection:
        _, key = await add_key(connection, ledger.tenant, Role.AGENT, "a key", environment="test", pepper=b"x")
        rotated = await rotate_key(
            connection, ledger.tenant, key, timedelta(hours=1), environment="test", pepper=b"x", actor="root"
        )
        assert rotated is not None
        await revoke_key(connection, ledger.tenant, rotated.key_id)
    await ledger.move_back(150)
    await RollupFolding(ledger.database).fold_rollups()
    await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    await Retention(ledger.database, 3).drop_months()
