"""The schema is the sum of the migrations and equals the models; migrating is safe to repeat, together and back."""

import asyncio
import sys
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import command
from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import open_ledger
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import APP_ROLE, plain_dsn
from token_ledger.storage.migrations import current_revision, head_revision, migrate, migration_config
from token_ledger.storage.prices import seed_prices
from token_ledger.storage.schema.all_tables import PARTITIONED_TABLES, TENANT_TABLES, metadata

CATALOG = {
    "columns": "select table_name, column_name, data_type, udt_name, is_nullable, column_default, identity_generation"
    " from information_schema.columns where table_schema = 'public'",
    "constraints": "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace = 'public'::regnamespace and contype <> 'n' and conparentid = 0 and conrelid <> 0",
    "indexes": "select indexname, indexdef from pg_indexes where schemaname = 'public'",
    "tables": "select relname, relkind::text, coalesce(array_to_string(reloptions, ','), '') from pg_class"
    " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
    "partitioning": "select partrelid::regclass::text, pg_get_partkeydef(partrelid) from pg_partitioned_table",
}
BEYOND_MODELS = {
    "policies": "select tablename, policyname, roles::text, cmd, qual, with_check from pg_policies",
    "grants": "select table_name, privilege_type from information_schema.role_table_grants"
    f" where grantee = '{APP_ROLE}'",
    "functions": "select proname, prosecdef, prosrc from pg_proc where pronamespace = 'public'::regnamespace",
    "types": "select typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'c'",
    "tenants": "select tenant_id, name from tenants",
}


async def _run(url: str, work: Any) -> Any:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(plain_dsn(url)))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def _catalog(url: str, *parts: dict[str, str]) -> dict[str, set[tuple[Any, ...]]]:
    """Return what the catalog says, without partitions, which come and go with time."""
    connection = await asyncpg.connect(url)
    try:
        found = {
            name: {tuple(row.values()) for row in await connection.fetch(statement)}
            for part in parts
            for name, statement in part.items()
        }
    finally:
        await connection.close()
    ours = tuple(f"{table}_2" for table in PARTITIONED_TABLES)
    return {
        name: {row for row in rows if not any(str(value).startswith(ours) for value in row)}
        for name, rows in found.items()
    }


def _is_ours(thing: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    return not (kind == "table" and any((name or "").startswith(f"{table}_") for table in PARTITIONED_TABLES))


def _differences(connection: Connection) -> list[Any]:
    options = {"include_object": _is_ours, "compare_type": True, "compare_server_default": True}
    found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    return found


async def test_an_empty_database_that_was_migrated_equals_the_models(empty_url: str) -> None:
    await migrate(empty_url)
    assert await _run(empty_url, _differences) == []
    assert await _run(empty_url, current_revision) == head_revision()


@pytest.mark.parametrize(
    "drift",
    [
        "alter table runs add column note text",
        "alter table runs drop column strict",
        "alter table runs alter column user_id drop not null",
        "alter table budgets alter column limit_tokens type integer",
        "drop index reservations_due",
        "alter table accounts drop constraint accounts_tenant_id_budget_id_subject_window_start_key",
        "create table notes (tenant_id bigint primary key)",
    ],
)
async def test_a_schema_that_drifted_would_be_noticed(drift: str, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(drift)
    await connection.close()
    assert await _run(database_url, _differences) != []


async def test_migrations_and_models_make_the_same_down_to_constraints_and_storage(
    empty_url: str, database_url: str
) -> None:
    """Alembic's comparison leaves out check constraints, storage parameters and partitioning; the catalog does not."""
    await _run(empty_url, metadata.create_all)
    made, migrated = await _catalog(empty_url, CATALOG), await _catalog(database_url, CATALOG)
    for name, rows in migrated.items():
        assert {row for row in rows if "alembic_version" not in str(row)} == made[name], name
        assert made[name], name


async def test_down_to_nothing_and_up_again_is_the_same_schema(empty_url: str) -> None:
    await migrate(empty_url)
    before = await _catalog(empty_url, CATALOG, BEYOND_MODELS)
    assert len(before["policies"]) == len(TENANT_TABLES)

    def down(connection: Connection) -> None:
        config = migration_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    await _run(empty_url, down)
    left = await _catalog(empty_url, CATALOG, {k: v for k, v in BEYOND_MODELS.items() if k != "tenants"})
    assert {row[0] for row in left["tables"]} == {"alembic_version"}
    assert (left["functions"], left["policies"], left["types"]) == (set(), set(), {("alembic_version",)})
    await migrate(empty_url)
    assert await _catalog(empty_url, CATALOG, BEYOND_MODELS) == before


async def test_the_schema_can_be_made_under_another_name(empty_url: str) -> None:
    """Nothing names a schema: a database can have one for every group of tenants, each with its own service."""
    for name in ("east", "west"):
        url = f"{empty_url}{'&' if '?' in empty_url else '?'}search_path={name}"
        await _run(empty_url, lambda connection, name=name: connection.execute(text(f"create schema {name}")))
        await migrate(url)
        await seed_prices(url)
        async with open_ledger(url) as ledger:
            await make_every_kind_of_row(ledger)
            assert await ledger.owner.fetchval(f"select count(*) from {name}.usage_events") > 0
        assert (await verify_database(url)).clean
    left = await _catalog(
        empty_url, CATALOG, {k: v for k, v in BEYOND_MODELS.items() if k not in ("tenants", "policies", "grants")}
    )
    assert (left["tables"], left["functions"], left["types"]) == (set(), set(), set())


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = await _catalog(database_url, CATALOG, BEYOND_MODELS)
    await migrate(database_url)
    assert await _catalog(database_url, CATALOG, BEYOND_MODELS) == before


async def test_several_processes_that_migrate_at_once_make_one_schema(empty_url: str) -> None:
    program = "import sys; import asyncio; from token_ledger.storage.migrations import migrate;"
    program += " asyncio.run(migrate(sys.argv[1]))"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_url, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    finished = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0], finished
    assert await _run(empty_url, current_revision) == head_revision()
    assert await _run(empty_url, _differences) == []


async def test_several_that_migrate_at_once_in_one_process_make_one_schema(empty_url: str) -> None:
    await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert await _run(empty_url, _differences) == []


async def test_prices_are_seeded_once(empty_url: str) -> None:
    await migrate(empty_url)
    assert await seed_prices(empty_url) > 500
    assert await seed_prices(empty_url) == 0
