"""Checks: every roll-up equals the sums of the events, by the hours and days of the tenant's calendar.

Reports of one span agree, whatever they group by: they read whole hours or days from a roll-up, and what is left from
the events, which are what that roll-up adds up. Of events that are gone only sums are kept, by hours and by days: these
are compared with each other.
"""

from sqlalchemy import Table

from token_ledger.core.model.usage import Figures
from token_ledger.proof.check import sql_check
from token_ledger.storage.schema import rollup_tables
from token_ledger.storage.schema.rollup_tables import key_of
from token_ledger.storage.upkeep.periods import DAY_OF_POST, HOUR_OF_POST

_FIGURES = ", ".join(Figures._fields)
_SUMS = ", ".join(f"sum({name})::bigint as {name}" for name in Figures._fields)
_EVENT_FIGURES = _FIGURES.replace("cache_write_tokens", "cache_write_5m_tokens + cache_write_1h_tokens")
_OF_EVENT = {"hour": HOUR_OF_POST, "day": DAY_OF_POST, "tool": "coalesce(tool, '')"}
"""What an event has for a column of a key, where it is not the column of the same name."""


def _differences(rollup: Table, checkpoint: Table, source: str = "usage_events where true") -> str:
    """Return the query for rows in which a roll-up differs from its checkpoint plus the later events."""
    columns = key_of(rollup)
    key = ", ".join(columns)
    grouped = (
        f"select {key}, {_SUMS} from ("
        f"select {key}, {_FIGURES} from {checkpoint.name} where tenant_id = :tenant"
        f" union all select {', '.join(_OF_EVENT.get(name, name) for name in columns)}, {_EVENT_FIGURES}"
        f" from {source} and tenant_id = :tenant and event_id > :cut"
        f") as e group by {key}"
    )
    stored = f"select {key}, {_SUMS} from {rollup.name} where tenant_id = :tenant group by {key}"
    if "user_id" in columns:
        grouped, stored = _as_one_user(grouped, key), _as_one_user(stored, key)
    return (
        f"select 'stored' as found, * from (({stored}) except ({grouped})) as only_stored"
        f" union all select 'booked', * from (({grouped}) except ({stored})) as only_booked"
    )


def _as_one_user(sums: str, key: str) -> str:
    """Return the query with the sums of a name and of its pseudonym added, for while an erasure is under way."""
    named = ", ".join(f"s.{name}" for name in key.split(", "))
    named = named.replace("s.user_id", "coalesce(e.user_id, s.user_id) as user_id")
    return (
        f"select {key}, {_SUMS} from (select {named}, {_FIGURES} from ({sums}) as s"
        " left join erasures as e on e.tenant_id = :tenant and e.pseudonym = s.user_id"
        f") as named group by {key}"
    )


HOURLY = _differences(rollup_tables.hourly_usage, rollup_tables.hourly_checkpoints)
DAILY = _differences(rollup_tables.daily_usage, rollup_tables.daily_checkpoints)
TAGS = _differences(
    rollup_tables.daily_tag_usage,
    rollup_tables.daily_tag_checkpoints,
    "usage_events cross join lateral jsonb_each_text(coalesce(tags, '{}'::jsonb)) as t (tag, value) where true",
)
RUNS = _differences(rollup_tables.run_usage, rollup_tables.run_checkpoints, "usage_events where run_id is not null")

_DAY_STARTS = "unnest(cast(:day_starts as timestamptz[])) as d (posted_at)"
_HOUR_BEFORE = HOUR_OF_POST.replace("posted_at", "posted_at - interval '1 microsecond'")


def _by_days(rollup: str, period: str) -> str:
    """Return the query for the sums of a roll-up from one day that begins with an hour to the next such day."""
    return (
        f"select (s.days)[width_bucket({period}, s.{period}s)] as since, agent_type, model, {_SUMS}"
        f" from {rollup} cross join shared as s where tenant_id = :tenant group by 1, 2, 3"
    )


# Hours never fall as time goes on, so what is kept under the first hour of a day, or later, is of that day or later, if
# another hour ended with the day before. After a change of the time zone that need not be so for every day.
HOURS_AGAINST_DAYS = f"""
with begun as (
    select posted_at as day, {HOUR_OF_POST} as hour, {_HOUR_BEFORE} as hour_before from {_DAY_STARTS}
), shared as materialized (
    select array_agg(day order by day) as days, array_agg(hour order by day) as hours from begun
    where hour_before < hour
), by_hour as ({_by_days("hourly_usage", "hour")}), by_day as ({_by_days("daily_usage", "day")})
select 'hourly' as found, * from (select * from by_hour except select * from by_day) as only_hourly
union all select 'daily', * from (select * from by_day except select * from by_hour) as only_daily
"""

# No sum can outgrow the database, because these can't (see `core.decisions.holds`).
BOOKED = """
select l.booked_tokens, l.booked_nanos, d.tokens, d.nanos
from tenant_ledgers as l cross join (
    select coalesce(sum(input_tokens + output_tokens), 0) as tokens, coalesce(sum(cost_nanos), 0) as nanos
    from daily_usage where tenant_id = :tenant
) as d
where l.tenant_id = :tenant and (l.booked_tokens, l.booked_nanos) <> (d.tokens, d.nanos)
"""

CHECKS = (
    sql_check("hourly roll-ups equal the sums of the usage events", HOURLY),
    sql_check("daily roll-ups equal the sums of the usage events", DAILY),
    sql_check("tag roll-ups equal the sums of the usage events", TAGS),
    sql_check("run roll-ups equal the sums of the usage events", RUNS),
    sql_check("hourly and daily roll-ups have the same sums, so reports of one span agree", HOURS_AGAINST_DAYS),
    sql_check("what a tenant has booked is the sum of its daily roll-ups", BOOKED),
)
