"""Checks: what holds set aside, what was drawn on them and how they ended match their usage events."""

from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.usage import KINDS
from token_ledger.proof.check import each_unit, sql_check
from token_ledger.storage.json_columns import UNPRICED_UNITS

# How many calls a whole call counts.
_WHOLE = f"case when e.repetition = '{Repetition.DUPLICATE}' then 0 else 1 end"

# A lease sets aside several calls of one size, any other hold one call. How much money that is `held_costs` checks.
SIZES = """
select reservation_id, lease, held_calls, input_tokens, cached_input_tokens, max_output_tokens, held_tokens,
       held_uncached_tokens, held_nanos
from reservations where tenant_id = :tenant and (
    held_calls < 1 or (not lease and held_calls <> 1) or held_nanos % nullif(held_calls, 0) <> 0
    or held_tokens <> held_calls * (input_tokens + max_output_tokens)
    or held_uncached_tokens <> held_calls * (input_tokens - cached_input_tokens + max_output_tokens)
)
"""

# An event is late if its hold had already ended in another way. A hold lies after its event only if it was given while
# the database's clock was ahead.
SETTLEMENTS = f"""
select r.reservation_id, r.state, r.event_id, e.event_id as journal_event_id, e.calls, e.late
from (select * from reservations where tenant_id = :tenant and event_id > :cut) as r
full join (
    select * from usage_events
    where tenant_id = :tenant and event_id > :cut and reservation_id is not null and not part
) as e on e.reservation_id = r.reservation_id
where r.reservation_id is null or e.event_id is null or e.event_id <> r.event_id
   or coalesce(e.held_path, e.path) <> r.path or coalesce(e.held_at, e.posted_at) <> r.created_at
   or (e.held_at is not null and not r.lease and r.created_at <= e.booked_at)
   or e.late <> (r.ended_id <> r.event_id) or e.calls <> {_WHOLE}
"""

# A lease from before the cut may be gone while its last calls are still reported; those must be late.
DRAWS = f"""
select e.event_id, e.reservation_id, r.state, r.ended_id, r.event_id as settling_event_id, e.calls, e.late
from usage_events as e
left join reservations as r on r.tenant_id = e.tenant_id and r.reservation_id = e.reservation_id
where e.tenant_id = :tenant and e.event_id > :cut and e.part
  and case when r.reservation_id is null then e.reservation_id is null or e.reservation_id > :cut or not e.late
      else coalesce(e.held_path, e.path) <> r.path or coalesce(e.held_at, e.posted_at) <> r.created_at
           or (e.held_at is not null and not r.lease and r.created_at <= e.booked_at)
           or e.calls <> r.lease::integer * {_WHOLE} or e.event_id < r.reservation_id
           or e.late <> (r.ended_id is not null and e.event_id > r.ended_id)
           or e.event_id > r.event_id or (r.state = 'released' and e.event_id > r.ended_id) end
"""

# Partial events before the cut are gone, so older holds may have more drawn than their remaining events.
DRAWN = f"""
with parts as (
    select reservation_id, count(*) as parts, sum(input_tokens + output_tokens) as tokens,
           sum(input_tokens - cache_read_tokens + output_tokens) as uncached_tokens,
           sum(cost_nanos) as nanos, sum(calls) as calls
    from usage_events where tenant_id = :tenant and event_id > :cut and part group by reservation_id
), compared as (
    select r.reservation_id, r.changes, coalesce(p.parts, 0) as parts,
           {each_unit("r.drawn_{u}, coalesce(p.{u}, 0)::bigint as parts_{u}")},
           r.drawn_uncached_tokens, coalesce(p.uncached_tokens, 0)::bigint as parts_uncached_tokens
    from reservations as r left join parts as p using (reservation_id) where r.tenant_id = :tenant
)
select * from compared
where changes < parts or {each_unit("drawn_{u} < parts_{u}", " or ")}
   or drawn_uncached_tokens < parts_uncached_tokens
   or (reservation_id > :cut and ({each_unit("drawn_{u} <> parts_{u}", " or ")}
                                  or drawn_uncached_tokens <> parts_uncached_tokens))
"""

# The same by the model that served the parts, and by kind. What parts before the cut used is not below 0.
_USE = f"""
    select key as what, value::bigint as amount from jsonb_each_text({{usage}})
    union all select 'nanos', {{nanos}}
    union all select key, (value ->> 0)::bigint from jsonb_each({{others}})
    union all select key || ' nanos', (value ->> 1)::bigint from jsonb_each({{others}})
    union all select key || ' unpriced', {UNPRICED_UNITS.format("value")} from jsonb_each({{others}})
"""
_TOKENS = "jsonb_build_object({})".format(", ".join(f"'{kind}', e.{kind}" for kind in KINDS))
DRAWN_USE = f"""
with said as (
    select r.reservation_id, d.provider, d.model, u.what, u.amount from reservations as r
    cross join lateral jsonb_to_recordset(r.drawn_use)
        as d (provider text, model text, usage jsonb, nanos bigint, others jsonb)
    cross join lateral ({_USE.format(usage="d.usage", nanos="d.nanos", others="d.others")}) as u
    where r.tenant_id = :tenant
), parts as (
    select e.reservation_id, e.provider, e.model, u.what, -u.amount from usage_events as e
    cross join lateral ({_USE.format(usage=_TOKENS, nanos="e.cost_nanos", others="e.others")}) as u
    where e.tenant_id = :tenant and e.event_id > :cut and e.part and e.calls = 0
), compared as (
    select reservation_id, provider, model, what, sum(amount)::bigint as too_much
    from (select * from said union all select * from parts) as amounts group by 1, 2, 3, 4
)
select c.* from compared as c join reservations as r on r.tenant_id = :tenant and r.reservation_id = c.reservation_id
where too_much < 0 or (too_much <> 0 and c.reservation_id > :cut)
"""

OVERRUNS = f"""
with used as (
    select e.event_id, e.reservation_id, e.overrun, e.repetition, r.reservation_id is not null as known,
           r.held_tokens, sum(e.input_tokens + e.output_tokens) over w as tokens,
           r.held_uncached_tokens,
           sum(e.input_tokens - e.cache_read_tokens + e.output_tokens) over w as uncached_tokens,
           r.held_nanos, sum(e.cost_nanos) over w as nanos, r.held_calls, sum(e.calls) over w - e.calls as calls_before
    from usage_events as e
    left join reservations as r on r.tenant_id = e.tenant_id and r.reservation_id = e.reservation_id
    where e.tenant_id = :tenant and e.event_id > :cut
      and (e.overrun and e.reservation_id is null or e.reservation_id > :cut)
    window w as (partition by e.reservation_id order by e.event_id)
)
select * from used
where overrun <> (known and repetition is distinct from '{Repetition.DUPLICATE}' and (
    tokens > held_tokens or uncached_tokens > held_uncached_tokens or nanos > held_nanos or calls_before >= held_calls
))
"""

CHECKS = (
    sql_check("what a hold sets aside is the size of its calls", SIZES),
    sql_check("settled holds and their usage events match", SETTLEMENTS),
    sql_check("partial usage events and their holds match", DRAWS),
    sql_check("what was drawn on a hold is the sum of its partial events", DRAWN),
    sql_check("what the parts of a call used, by model and kind, is what its hold says", DRAWN_USE),
    sql_check("events are overruns exactly when more was used than held", OVERRUNS),
)
