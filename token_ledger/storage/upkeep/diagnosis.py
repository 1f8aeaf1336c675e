"""Reads the state of a database: settings, schema, role, partitions, load, and what is overdue in the books.

Facts only; what they mean and what to do is said by `cli.doctor`. What the server tells about itself is asked as the
role that logs in, the rest as the role that the service works as, so that what the service may not see is noticed.
"""

import time
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import asyncpg

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import database
from token_ledger.storage.clocks import BOUND_SECONDS
from token_ledger.storage.failures import Failure, failure_of, in_words
from token_ledger.storage.schema.all_tables import GLOBAL_TABLES, TENANT_TABLES
from token_ledger.storage.upkeep.leadership import LEADER_LOCK

QUERY_SECONDS = 10
ENDING_DAYS = 30
"""How long before its end a model is reported, and how long after its last use."""


@dataclass(frozen=True, slots=True)
class LongTransaction:
    """A transaction that keeps vacuum from removing row versions that are newer than it."""

    pid: int
    application: str
    seconds: int


@dataclass(slots=True)
class Facts:
    """What was found; None or empty where a missing schema or role kept us from asking."""

    version: int
    version_text: str
    clock_seconds_ahead: float
    settings: dict[str, str]
    connections: int
    connections_allowed: int
    revision: str | None
    role_powers: list[str] | None = None
    role_can_be_taken: bool = False
    owned_by_role: list[str] = field(default_factory=list)
    unfenced_tables: list[str] = field(default_factory=list)
    missing_partitions: list[str] = field(default_factory=list)
    long_transactions: list[LongTransaction] = field(default_factory=list)
    dead_rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    leader: str | None = None
    leader_silent_seconds: float | None = None
    books: "Books | None" = None
    unreadable_tenants: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Books:
    """What the service's role sees of all tenants; ages are in seconds."""

    tenants: int
    prices: int
    newest_price_at: datetime | None
    prices_age_seconds: float | None
    overdue_hold_seconds: float | None
    overdue_grant_seconds: float | None
    quarantined: int
    oldest_quarantined_at: datetime | None
    due_months: list[str]
    tenants_ahead: list[tuple[str, float]]
    ending_models: list[tuple[str, date]]
    """Tenants with models that they used of late, and when these end."""


_SETTINGS = "select name, setting from pg_settings where name = any($1)"
SETTINGS = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "max_connections",
            "superuser_reserved_connections")  # fmt: skip

_ROLE = "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin from pg_roles where rolname = $1"

_OWNED = """
select c.relname from pg_class as c join pg_roles as r on r.oid = c.relowner
where r.rolname = $1 and c.relnamespace = current_schema()::regnamespace order by 1
"""

_FENCED = """
select c.relname from pg_class as c
where c.relnamespace = current_schema()::regnamespace and c.relname = any($1) and c.relrowsecurity
  and exists (select from pg_policy as p where p.polrelid = c.oid and p.polcmd = '*' and p.polpermissive
              and p.polqual is not null and p.polwithcheck is not null)
  and not exists (select from pg_policy as p where p.polrelid = c.oid and p.polpermissive
                  and p.polname <> 'tenant_rows')
"""

_MISSING_PARTITIONS = """
select month from (
    select to_char(date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead), 'YYYY_MM') as month
    from generate_series(0, $1) as ahead
) as wanted
where not exists (select from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
                  where i.inhparent = to_regclass('usage_events') and c.relname = 'usage_events_' || month)
order by 1
"""

_LONG_TRANSACTIONS = """
select coalesce(pid, 0) as pid, coalesce(nullif(application_name, ''), 'unnamed') as application,
       extract(epoch from clock_timestamp() - xact_start)::integer as seconds
from pg_stat_activity
where backend_xmin is not null and pid <> pg_backend_pid() and backend_type = 'client backend'
  and xact_start <= clock_timestamp() - make_interval(secs => $1)
union all
select 0, 'prepared transaction ' || gid, extract(epoch from clock_timestamp() - prepared)::integer
from pg_prepared_xacts where prepared <= clock_timestamp() - make_interval(secs => $1)
order by seconds desc limit 5
"""

_DEAD_ROWS = "select relname, n_live_tup, n_dead_tup from pg_stat_user_tables where relname = any($1)"
HOT_TABLES = ("accounts", "tenant_ledgers")

# The two halves of a lock's number of 64 bits stand in classid and objid.
_LEADER = """
select coalesce(nullif(a.application_name, ''), 'pid ' || l.pid) as leader,
       extract(epoch from clock_timestamp() - a.state_change)::float8 as silent_seconds
from pg_locks as l left join pg_stat_activity as a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select oid from pg_database where datname = current_database())
  and (l.classid::bigint << 32) + l.objid::bigint = $1
"""

_TENANTS = "select tenant_id, name from tenants where tenant_id > 0 order by tenant_id"

_TENANTS_AHEAD = """
select t.name, extract(epoch from l.booked_at - clock_timestamp())::float8 as seconds
from tenant_ledgers as l join tenants as t using (tenant_id)
where l.booked_at > clock_timestamp() + make_interval(secs => $1) order by seconds desc limit 100
"""

# What was said last of a model counts. Roll-ups name models as the books do.
_ENDING_MODELS = """
select t.name || ' ' || m.provider || '/' || m.model as model, (m.facts ->> 'end_of_life')::date as ends_on
from (
    select distinct on (tenant_id, provider, lower(model)) tenant_id, provider, model, facts from tenant_models
    order by tenant_id, provider, lower(model), facts_id desc
) as m join tenants as t using (tenant_id)
where (m.facts ->> 'end_of_life')::date <= (now() at time zone 'UTC')::date + $1::integer and exists (
    select from hourly_usage as u
    where u.tenant_id = m.tenant_id and u.model = m.model and u.hour > now() - make_interval(days => $1::integer)
)
order by ends_on, model limit 100
"""

_BOOKS = """
select (select count(*) from tenants where tenant_id > 0) as tenants,
       (select count(*) from prices) as prices,
       (select max(added_at) from prices) as newest_price_at,
       (select extract(epoch from now() - max(added_at))::float8 from prices) as prices_age_seconds,
       (select extract(epoch from clock_timestamp() - min(expires_at))::float8 from reservations
        where state = 'held' and expires_at <= clock_timestamp()) as overdue_hold_seconds,
       (select extract(epoch from clock_timestamp() - min(grants_until))::float8 from accounts
        where grants_until <= clock_timestamp()) as overdue_grant_seconds,
       waiting.items as quarantined, waiting.oldest_at as oldest_quarantined_at
from (
    select count(*) as items, min(kept_at) as oldest_at from quarantine as q where not exists (
        select from quarantine_decisions as d where d.tenant_id = q.tenant_id and d.quarantine_id = q.quarantine_id
    )
) as waiting
"""


async def read_facts(
    url: str, *, months_ahead: int, long_seconds: float, revision: str | None, retention_months: int | None
) -> Facts:
    """Return how a database is; `revision` is the schema that this version knows how to look at.

    Raises DatabaseAway, and the driver's errors for an address or a password that is wrong.
    """
    try:
        connection: Any = await asyncpg.connect(
            database.plain_dsn(url),
            timeout=database.CONNECT_SECONDS,
            command_timeout=QUERY_SECONDS,
            server_settings={"application_name": "token-ledger doctor", "timezone": "UTC"},
        )
    except Exception as error:
        if failure_of(error) is not Failure.AWAY:
            raise
        raise database.DatabaseAway(in_words(error)) from error
    try:
        facts = await _read_server(connection, long_seconds)
        if facts.revision is not None:
            await _read_schema(connection, facts, months_ahead)
        if facts.revision == revision and facts.role_can_be_taken:
            await _read_books(connection, facts, retention_months)
    finally:
        await connection.close()
    return facts


async def _read_server(connection: Any, long_seconds: float) -> Facts:
    settings = {row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS, SETTINGS)}
    reserved = int(settings.pop("superuser_reserved_connections"))
    known = await connection.fetchval("select to_regclass('alembic_version')")
    rows = await connection.fetch(_LONG_TRANSACTIONS, long_seconds)
    return Facts(
        version=connection.get_server_version().major,
        version_text=await connection.fetchval("show server_version"),
        clock_seconds_ahead=await _clock_seconds_ahead(connection),
        connections=await connection.fetchval(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        ),
        connections_allowed=int(settings.pop("max_connections")) - reserved,
        settings=settings,
        revision=await connection.fetchval("select version_num from alembic_version") if known else None,
        long_transactions=[LongTransaction(*row) for row in rows],
    )


async def _clock_seconds_ahead(connection: Any) -> float:
    """Return how far the server's clock is ahead of this machine's, as the quickest of a few answers tells."""
    best = (float("inf"), 0.0)
    for _ in range(3):
        before = time.time()
        theirs = await connection.fetchval("select extract(epoch from clock_timestamp())::float8")
        after = time.time()
        best = min(best, (after - before, theirs - (before + after) / 2))
    return best[1]


async def _read_schema(connection: Any, facts: Facts, months_ahead: int) -> None:
    role = await connection.fetchrow(_ROLE, database.APP_ROLE)
    if role is not None:
        facts.role_powers = [name.removeprefix("rol") for name, power in role.items() if power]
        facts.role_can_be_taken = await connection.fetchval("select pg_has_role($1, 'member')", database.APP_ROLE)
    facts.owned_by_role = [row["relname"] for row in await connection.fetch(_OWNED, database.APP_ROLE)]
    fenced = {row["relname"] for row in await connection.fetch(_FENCED, TENANT_TABLES)}
    facts.unfenced_tables = sorted(set(TENANT_TABLES) - GLOBAL_TABLES - fenced)
    facts.missing_partitions = [row["month"] for row in await connection.fetch(_MISSING_PARTITIONS, months_ahead)]
    for row in await connection.fetch(_DEAD_ROWS, HOT_TABLES):
        facts.dead_rows[row["relname"]] = row["n_live_tup"], row["n_dead_tup"]
    leader = await connection.fetchrow(_LEADER, LEADER_LOCK)
    if leader is not None:
        facts.leader, facts.leader_silent_seconds = leader


async def _read_books(connection: Any, facts: Facts, retention_months: int | None) -> None:
    """Read the books of all tenants, or of those that can be read."""
    names = {TenantId(row["tenant_id"]): row["name"] for row in await connection.fetch(_TENANTS)}
    try:
        facts.books = await _read_books_of(connection, list(names), retention_months)
    except asyncpg.PostgresError:
        readable = [tenant for tenant in names if await _can_be_read(connection, tenant, retention_months)]
        facts.unreadable_tenants = [name for tenant, name in names.items() if tenant not in readable]
        facts.books = await _read_books_of(connection, readable, retention_months)


async def _can_be_read(connection: Any, tenant: TenantId, retention_months: int | None) -> bool:
    try:
        await _read_books_of(connection, [tenant], retention_months)
    except asyncpg.PostgresError:
        return False
    return True


async def _read_books_of(connection: Any, tenants: list[TenantId], retention_months: int | None) -> Books:
    async with connection.transaction(readonly=True):
        await connection.execute(f"set local role {database.APP_ROLE}")
        await connection.execute(database.see_tenants(tenants))
        books = await connection.fetchrow(_BOOKS)
        due: list[str] = []
        if retention_months is not None:
            due = [row[0] for row in await connection.fetch("select token_ledger_due_months($1)", retention_months)]
        ahead = [(row["name"], row["seconds"]) for row in await connection.fetch(_TENANTS_AHEAD, BOUND_SECONDS)]
        ending = [(row["model"], row["ends_on"]) for row in await connection.fetch(_ENDING_MODELS, ENDING_DAYS)]
    return Books(**books, due_months=due, tenants_ahead=ahead, ending_models=ending)
