"""The checks of `verify` on what was booked: balances, holds, keys, roll-ups. Each query returns what is wrong."""

from token_ledger.core.books import ORDINAL_BITS

COUNTED = "case a.counts when 'all' then {all} else {uncached} end"
EVENT_TOKENS = COUNTED.format(
    all="e.input_tokens + e.output_tokens", uncached="e.input_tokens - e.cache_read_tokens + e.output_tokens"
)
REMAINING_TOKENS = COUNTED.format(
    all="greatest(0, r.held_tokens - r.drawn_tokens)",
    uncached="greatest(0, r.held_uncached_tokens - r.drawn_uncached_tokens)",
)

SETTLED = f"""
with booked as (
    select a.account_id, sum({EVENT_TOKENS})::bigint as tokens, sum(e.cost_nanos)::bigint as nanos,
           sum(e.calls)::bigint as calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant group by a.account_id
)
select a.account_id, a.budget, a.subject, a.settled_tokens, a.settled_nanos, a.settled_calls,
       b.tokens as booked_tokens, b.nanos as booked_nanos, b.calls as booked_calls
from accounts as a left join booked as b using (account_id)
where a.tenant_id = :tenant
  and (a.settled_tokens, a.settled_nanos, a.settled_calls)
      is distinct from (coalesce(b.tokens, 0), coalesce(b.nanos, 0), coalesce(b.calls, 0))
"""

HELD = f"""
with open as (
    select a.account_id, sum({REMAINING_TOKENS})::bigint as tokens,
           sum(greatest(0, r.held_nanos - r.drawn_nanos))::bigint as nanos,
           sum(greatest(0, r.held_calls - r.drawn_calls))::bigint as calls, count(*) filter (where r.lease) as leases
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant and r.state = 'held' group by a.account_id
)
select a.account_id, a.budget, a.subject, a.held_tokens, a.held_nanos, a.held_calls, a.leases,
       o.tokens as open_tokens, o.nanos as open_nanos, o.calls as open_calls, o.leases as open_leases
from accounts as a left join open as o using (account_id)
where a.tenant_id = :tenant
  and (a.held_tokens, a.held_nanos, a.held_calls, a.leases)
      is distinct from (coalesce(o.tokens, 0), coalesce(o.nanos, 0), coalesce(o.calls, 0), coalesce(o.leases, 0))
"""

DRAWN = """
with drawn as (
    select reservation_id, sum(input_tokens + output_tokens)::bigint as tokens,
           sum(input_tokens - cache_read_tokens + output_tokens)::bigint as uncached, sum(cost_nanos)::bigint as nanos,
           sum(calls)::bigint as calls
    from usage_events where tenant_id = :tenant and part group by reservation_id
)
select r.reservation_id, r.drawn_tokens, d.tokens, r.drawn_nanos, d.nanos, r.drawn_calls, d.calls
from reservations as r left join drawn as d using (reservation_id)
where r.tenant_id = :tenant
  and (r.drawn_tokens, r.drawn_uncached_tokens, r.drawn_nanos, r.drawn_calls) is distinct from
      (coalesce(d.tokens, 0), coalesce(d.uncached, 0), coalesce(d.nanos, 0), coalesce(d.calls, 0))
"""

# The event that ended its hold: both know each other. A part belongs to a hold and goes by its path.
SETTLEMENTS = """
select r.reservation_id, r.state, r.event_id, e.event_id as journal_event_id
from (select * from reservations where tenant_id = :tenant and event_id is not null) as r
full join (select * from usage_events where tenant_id = :tenant and reservation_id is not null and not part) as e
  on e.reservation_id = r.reservation_id
where r.reservation_id is null or e.event_id is null or e.event_id <> r.event_id or e.path <> r.path
   or e.late <> (r.ended_id <> r.event_id)
union all
select e.reservation_id, r.state, r.event_id, e.event_id
from usage_events as e left join reservations as r using (tenant_id, reservation_id)
where e.tenant_id = :tenant and e.part
  and (r.reservation_id is null or e.path <> r.path or e.late <> coalesce(r.ended_id < e.event_id, false)
       or e.calls <> r.lease::int)
"""

_ANSWERED = """
    select 'event' as answer, event_id as target_id from usage_events where tenant_id = :tenant
    union all select 'reservation', reservation_id from reservations where tenant_id = :tenant
    union all select 'denial', denial_id from denials where tenant_id = :tenant and enforced
    union all select 'kept', quarantine_id from quarantine where tenant_id = :tenant
    union all select 'run', run_id from runs where tenant_id = :tenant
    union all select 'step', step_id from run_steps where tenant_id = :tenant
    union all select 'grant', g.grant_id from grants as g where g.tenant_id = :tenant
        and not exists (select from increases as i where i.tenant_id = g.tenant_id and i.grant_id = g.grant_id)
    union all select 'increase', increase_id from increases where tenant_id = :tenant
"""

# What made a row is one key; a hold, a run and an increase may have others of what was done to them since. A run that
# was attached to has one more key of an opening for each.
KEYS = f"""
with answered as ({_ANSWERED}), keyed as (
    select answer, target_id, count(*) as keys,
           count(*) filter (where source in ('reserve', 'lease', 'run', 'increase')
                                  or answer not in ('reservation', 'run', 'increase')) as made_by
    from operation_keys
    where tenant_id = :tenant
      and answer in ('event', 'reservation', 'denial', 'kept', 'run', 'step', 'grant', 'increase') group by 1, 2
)
select answer, target_id, k.keys from answered full join keyed as k using (answer, target_id)
where k.made_by is null or k.made_by < 1 or (k.made_by > 1 and answer <> 'run') or not exists (
    select from answered as found where found.answer = k.answer and found.target_id = k.target_id
)
"""

SEQUENCES = f"""
select l.sequence, max(ids.id) >> {ORDINAL_BITS} as highest
from tenant_ledgers as l, (
    select event_id as id from usage_events where tenant_id = :tenant
    union all select greatest(reservation_id, ended_id) from reservations where tenant_id = :tenant
    union all select entry_id from limit_entries where tenant_id = :tenant
    union all select audit_id from audit_log where tenant_id = :tenant
) as ids
where l.tenant_id = :tenant group by l.sequence having max(ids.id) >> {ORDINAL_BITS} > l.sequence
union all
select event_id, count(*) from usage_events where tenant_id = :tenant group by event_id having count(*) > 1
"""

_SUMS = (
    "sum(calls)::bigint as calls, sum(input_tokens)::bigint as input_tokens,"
    " sum(output_tokens)::bigint as output_tokens, sum(cache_read_tokens)::bigint as cache_read_tokens,"
    " sum(cache_write_5m_tokens + cache_write_1h_tokens)::bigint as cache_write_tokens,"
    " sum(reasoning_tokens)::bigint as reasoning_tokens, sum(cost_nanos)::bigint as cost_nanos"
)
_FIGURES = "calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos"


def _rollup(table: str, key: str, start: str, source: str = "usage_events") -> str:
    """Return the query that compares a roll-up with the events, both ways, each in the zone that was in force."""
    local = (
        f"select e.*, greatest(date_trunc('{start}', e.posted_at, s.zone), s.since) as {start} from {source}"
        f" join unnest(cast(:{start}_zones as text[]), cast(:{start}_from as timestamptz[]),"
        f" cast(:{start}_until as timestamptz[])) as s (zone, since, until)"
        " on e.posted_at >= s.since and e.posted_at < s.until where e.tenant_id = :tenant"
    ).replace("from usage_events", "from usage_events as e")
    grouped = f"select {key}, {_SUMS} from ({local}) as e group by {key}"
    stored = f"select {key}, {_FIGURES} from {table} where tenant_id = :tenant"
    return f"({stored} except {grouped}) union all ({grouped} except {stored})"


HOURLY = _rollup("hourly_usage", "hour, cost_center, agent_type, model", "hour")
DAILY = _rollup("daily_usage", "day, user_id, agent_type, model, request_type", "day")
TAGS = _rollup(
    "daily_tag_usage",
    "day, tag, value",
    "day",
    "(select u.*, t.tag, t.value from usage_events as u"
    " cross join lateral jsonb_each_text(coalesce(u.tags, '{}'::jsonb)) as t (tag, value)"
    " where u.tenant_id = :tenant) as e",
).replace("from usage_events as e as u", "from usage_events as u")

_RUN_KEY = "run_id, agent_type, tool, model"
_RUN_EVENTS = (
    f"select run_id, agent_type, coalesce(tool, '') as tool, model, {_SUMS} from usage_events"
    " where tenant_id = :tenant and run_id is not null group by run_id, agent_type, coalesce(tool, ''), model"
)
_RUN_STORED = f"select {_RUN_KEY}, {_FIGURES} from run_usage where tenant_id = :tenant"
RUN_USAGE = f"({_RUN_STORED} except {_RUN_EVENTS}) union all ({_RUN_EVENTS} except {_RUN_STORED})"

CHECKS = {
    "settled amounts are the sums of the events": SETTLED,
    "held amounts are what remains of the open holds": HELD,
    "what was drawn on holds are the sums of their parts": DRAWN,
    "settled holds and their events belong together": SETTLEMENTS,
    "every row has the key that made it, and only that": KEYS,
    "ids follow the sequence and occur once": SEQUENCES,
    "hourly roll-ups are the sums of the events": HOURLY,
    "daily roll-ups are the sums of the events": DAILY,
    "tag roll-ups are the sums of the events": TAGS,
    "what runs used are the sums of the events": RUN_USAGE,
}
