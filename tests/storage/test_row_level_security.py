"""The second fence is active: whatever a query forgets, the service's role sees and changes only its tenants' rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy import BigInteger, Column, Integer, SmallInteger

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import APP_ROLE, Database
from token_ledger.storage.schema.all_tables import GLOBAL_TABLES, PARTITIONED_TABLES, TENANT_TABLES, metadata

MINE, OTHER = 1, 2
JOURNALS = (
    "audit_log", "budget_terms", "calendar_changes", "denials", "erasures", "limit_entries", "model_names",
    "operation_keys", "quarantine", "quarantine_decisions", "run_steps",
    "tenant_aliases", "tenant_discounts", "tenant_models", "tenant_prices", "threshold_events", "transfers",
    "trigger_firings", "usage_events",
)  # fmt: skip
CHECKPOINTS = tuple(table for table in TENANT_TABLES if "checkpoint" in table)
"""Written by the owner's functions only; the service may read them."""
STATES = tuple(table for table in TENANT_TABLES if table not in JOURNALS + CHECKPOINTS)
NOW = datetime.now(UTC)

# Where a constraint wants a certain value; all other columns take any value of their type.
CERTAIN = {
    "role": "agent", "state": "held", "ended_at": None, "ended_id": None, "booked_at": NOW,
    ("limit_entries", "kind"): "opening", ("reservations", "event_id"): None, ("increases", "state"): "asked",
    ("quarantine_decisions", "state"): "dismissed", "unassigned": "shared",
}  # fmt: skip


def _value(table: str, column: Column[Any], tenant: int) -> Any:
    if column.name == "tenant_id":
        return tenant
    for name in ((table, column.name), column.name):
        if name in CERTAIN:
            return CERTAIN[name]
    if isinstance(column.type, BigInteger | Integer | SmallInteger):
        return 0 if "tokens" in column.name else 1
    kind = type(column.type).__name__
    return {
        "Text": "x", "DateTime": NOW, "JSONB": "{}", "Boolean": False, "LargeBinary": b"x", "ARRAY": [1],
    }[kind]  # fmt: skip


async def _insert(connection: Any, table: str, tenant: int) -> None:
    columns = [column for column in metadata.tables[table].columns if column.computed is None]
    names = ", ".join(f'"{column.name}"' for column in columns)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(
        f"insert into {table} ({names}) values ({places})", *(_value(table, column, tenant) for column in columns)
    )


@pytest.fixture(scope="module")
async def seeded_url(shared_url: str) -> str:
    """A database in which two tenants have a row in every tenant's table."""
    owner = await asyncpg.connect(shared_url)
    try:
        for tenant in (MINE, OTHER):
            await owner.execute(
                "insert into tenants (tenant_id, name) overriding system value values ($1, $2)", tenant, str(tenant)
            )
            for table in TENANT_TABLES:
                await _insert(owner, table, tenant)
    finally:
        await owner.close()
    return shared_url


@pytest.fixture
async def owner(seeded_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(seeded_url)
    yield connection
    await connection.close()


@pytest.fixture
async def service(seeded_url: str) -> AsyncIterator[Any]:
    """A connection that works as the service's role, with nothing set."""
    connection = await asyncpg.connect(seeded_url, server_settings={"role": APP_ROLE})
    yield connection
    await connection.close()


@pytest.fixture
async def mine(service: Any) -> AsyncIterator[Any]:
    """The service's connection in a transaction of the tenant MINE, undone afterwards."""
    transaction = service.transaction()
    await transaction.start()
    await service.execute("select set_config('app.tenants', $1, true)", f"{{{MINE}}}")
    yield service
    await transaction.rollback()


NO_TENANT = (asyncpg.UndefinedObjectError, asyncpg.InvalidTextRepresentationError)


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_without_a_tenant_a_query_fails(table: str, service: Any) -> None:
    with pytest.raises(NO_TENANT):
        await service.fetch(f"select * from {table}")
    with pytest.raises(NO_TENANT):
        await service.fetch(f"select count(*) from {table} where tenant_id = {MINE}")
    with pytest.raises((*NO_TENANT, asyncpg.InsufficientPrivilegeError)):
        await _insert(service, table, MINE)


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_what_was_set_in_a_transaction_is_gone_after_it(table: str, service: Any) -> None:
    async with service.transaction():
        await service.execute("select set_config('app.tenants', $1, true)", f"{{{MINE}}}")
        assert len(await service.fetch(f"select * from {table}")) == 1
    with pytest.raises(NO_TENANT):
        await service.fetch(f"select * from {table}")


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_query_sees_the_rows_of_its_tenant_alone(table: str, mine: Any) -> None:
    assert [row["tenant_id"] for row in await mine.fetch(f"select tenant_id from {table}")] == [MINE]
    assert await mine.fetch(f"select * from {table} where tenant_id = {OTHER}") == []
    assert await mine.fetchval(f"select count(*) from {table} where tenant_id <> {MINE} or tenant_id is null") == 0


@pytest.mark.parametrize("table", TENANT_TABLES)
@pytest.mark.parametrize(("tenants", "seen"), [("{}", []), (f"{{{OTHER}}}", [OTHER]), (f"{{{MINE},{OTHER}}}", [1, 2])])
async def test_a_query_sees_exactly_the_tenants_that_are_set(
    tenants: str, seen: list[int], table: str, service: Any
) -> None:
    async with service.transaction():
        await service.execute("select set_config('app.tenants', $1, true)", tenants)
        found = await service.fetch(f"select tenant_id from {table} order by 1")
    assert [row["tenant_id"] for row in found] == seen


@pytest.mark.parametrize("tenants", ["*", "1", "{x}", "{1", "{1}; reset role", "{9223372036854775808}"])
async def test_a_list_of_tenants_that_is_none_sees_nothing(tenants: str, service: Any) -> None:
    async with service.transaction():
        await service.execute("select set_config('app.tenants', $1, true)", tenants)
        with pytest.raises((asyncpg.InvalidTextRepresentationError, asyncpg.NumericValueOutOfRangeError)):
            await service.fetch("select * from runs")


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_row_of_another_tenant_can_not_be_added(table: str, mine: Any) -> None:
    why = "permission denied" if table in CHECKPOINTS else "row-level security"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=why):
        async with mine.transaction():
            await _insert(mine, table, OTHER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=why):
        async with mine.transaction():
            await _insert(mine, table, 3)


@pytest.mark.parametrize("table", STATES)
async def test_a_row_of_another_tenant_can_not_be_changed(table: str, mine: Any, owner: Any) -> None:
    before = await owner.fetchval(f"select t::text from {table} as t where tenant_id = {OTHER}")
    column = next(c.name for c in metadata.tables[table].columns if c.name != "tenant_id")
    change = f'update {table} set "{column}" = "{column}"'
    assert await mine.execute(f"{change} where tenant_id = {OTHER}") == "UPDATE 0"
    assert await mine.execute(change) == "UPDATE 1"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with mine.transaction():
            await mine.execute(f"update {table} set tenant_id = {OTHER}")
    assert await owner.fetchval(f"select t::text from {table} as t where tenant_id = {OTHER}") == before


@pytest.mark.parametrize("table", JOURNALS)
async def test_a_journal_can_not_be_changed_not_even_ones_own(table: str, mine: Any) -> None:
    for column in metadata.tables[table].columns:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            async with mine.transaction():
                await mine.execute(f'update {table} set "{column.name}" = "{column.name}"')


@pytest.mark.parametrize("table", [*TENANT_TABLES, *sorted(GLOBAL_TABLES)])
@pytest.mark.parametrize(
    "statement", ["delete from {}", "truncate {}", "drop table {}", "alter table {} disable row level security"]
)
async def test_nothing_is_ever_deleted_and_no_fence_taken_down(statement: str, table: str, mine: Any) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with mine.transaction():
            await mine.execute(statement.format(table))


async def test_prices_and_names_of_tenants_can_not_be_changed(mine: Any) -> None:
    for statement in (
        "update prices set provider = provider",
        "insert into prices (provider, model, ordinal, rates, source) values ('a', 'b', 0, '{}', 'c')",
        "update tenants set name = name",
        "update alembic_version set version_num = version_num",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with mine.transaction():
                await mine.execute(statement)


async def test_partitions_can_not_be_reached_past_their_parent(mine: Any, owner: Any) -> None:
    for parent in PARTITIONED_TABLES:
        partitions = await owner.fetch(
            "select inhrelid::regclass::text from pg_inherits where inhparent = $1::regclass", parent
        )
        assert len(partitions) > 3
        for (partition,) in partitions:
            for statement in (f"select * from {partition}", f"delete from {partition}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                    async with mine.transaction():
                        await mine.execute(statement)


async def test_the_role_owns_nothing_and_has_no_powers(owner: Any) -> None:
    role = await owner.fetchrow("select * from pg_roles where rolname = $1", APP_ROLE)
    for power in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication", "rolcanlogin"):
        assert role[power] is False, power
    for kind, column in (("class", "relowner"), ("proc", "proowner"), ("namespace", "nspowner"), ("type", "typowner")):
        assert await owner.fetchval(f"select count(*) from pg_{kind} where {column} = $1", role["oid"]) == 0
    assert await owner.fetchval("select has_schema_privilege($1, 'public', 'create')", APP_ROLE) is False
    assert await owner.fetchval("select count(*) from pg_auth_members where member = $1", role["oid"]) == 0


async def test_every_table_with_a_tenant_is_fenced(owner: Any) -> None:
    """Read from the catalog, so that a table added by a later migration is found without being named here."""
    found = await owner.fetch(
        "select c.relname, c.relrowsecurity,"
        " (select array_agg(p.polcmd::text || (p.polroles = array[$1::regrole::oid])::text || p.polpermissive::text"
        "          || (p.polqual is not null)::text || (p.polwithcheck is not null)::text)"
        "  from pg_policy as p where p.polrelid = c.oid) as policies"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = 'tenant_id'"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
        " and not a.attisdropped",
        APP_ROLE,
    )
    fenced = {row["relname"] for row in found if row["relname"] not in GLOBAL_TABLES}
    assert fenced == set(TENANT_TABLES)
    for row in found:
        if row["relname"] not in GLOBAL_TABLES:
            assert (row["relrowsecurity"], row["policies"]) == (True, ["*truetruetruetrue"]), row["relname"]


async def test_every_key_of_a_tenants_table_starts_with_the_tenant(owner: Any) -> None:
    found = await owner.fetch(
        "select c.relname, i.relname as index, x.indisprimary as is_primary,"
        " (select attname from pg_attribute where attrelid = c.oid and attnum = x.indkey[0]) as first"
        " from pg_index as x join pg_class as c on c.oid = x.indrelid join pg_class as i on i.oid = x.indexrelid"
        " where c.relname = any($1) and x.indisunique",
        list(TENANT_TABLES),
    )
    assert {row["relname"] for row in found if row["is_primary"]} == set(TENANT_TABLES)
    assert [(row["index"], row["first"]) for row in found if row["first"] != "tenant_id"] == []


async def test_no_foreign_key_points_to_a_partitioned_table(owner: Any) -> None:
    for table in PARTITIONED_TABLES:
        count = (
            "select count(*) from pg_constraint where contype = 'f' and confrelid = $1::regclass and conparentid = 0"
        )
        assert await owner.fetchval(count, table) == 0


async def test_no_view_sees_with_its_owners_eyes(owner: Any) -> None:
    views = await owner.fetch(
        "select relname, reloptions from pg_class where relkind in ('v', 'm') and relnamespace = 'public'::regnamespace"
    )
    assert [v["relname"] for v in views if "security_invoker=true" not in (v["reloptions"] or [])] == []


async def test_both_pools_of_the_service_work_as_the_role(seeded_url: str) -> None:
    database = Database(seeded_url, writers=1, readers=1)
    try:
        async with database.reading(TenantId(MINE)) as connection:
            read = await connection.exec_driver_sql("select current_user::text, count(*) from runs")
            assert list(read.one()) == [APP_ROLE, 1]
        async with (await database.writer_pool()).acquire() as writer:
            assert await writer.fetchval("select current_user::text") == APP_ROLE
            with pytest.raises(NO_TENANT):
                await writer.fetch("select * from runs")
    finally:
        await database.close()
