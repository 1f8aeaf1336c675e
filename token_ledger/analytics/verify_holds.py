"""Checks of verify: holds are of their calls, belong to their events, and denials say who refused (D1, D2, D3, D8)."""

from token_ledger.analytics.movements import each_unit

# A lease sets aside so many calls of one size, anything else one call. Which rate its input has at most, only the
# caller knows; the money of every call is the same.
SIZES = """
select reservation_id, lease, held_calls, input_tokens, cached_input_tokens, max_output_tokens, held_tokens,
       held_uncached_tokens, held_nanos
from reservations where tenant_id = :tenant and (
    held_calls < 1 or (not lease and held_calls <> 1) or held_nanos % nullif(held_calls, 0) <> 0
    or held_tokens <> held_calls * (input_tokens + max_output_tokens)
    or held_uncached_tokens <> held_calls * (input_tokens - cached_input_tokens + max_output_tokens)
)
"""

# Only an account that denies makes a denial count, and who has enough left for the calls refuses none of them.
# While a user is being erased, account and denial may differ in who that is; a second account of one run, which a
# new person of the name got meanwhile, has its id behind the pseudonym.
DENIALS = """
with refusal as (
    select d.denial_id, d.code, r.value ->> 'enforcement' = 'hard' as hard,
           a.account_id is not null and a.budget = r.value ->> 'budget' and a.subject::jsonb - 'user' = said.rest
               and (coalesce(of_account.pseudonym, a.subject::jsonb ->> 'user')
                       is not distinct from coalesce(of_denial.pseudonym, said.user_id)
                   or coalesce(a.subject::jsonb ->> 'user' = said.user_id || '-' || a.account_id, false)) as known,
           (r.value ->> 'available')::numeric as available, (r.value ->> 'requested')::numeric as requested,
           (r.value ->> 'limit')::numeric - (r.value ->> 'settled')::numeric - (r.value ->> 'held')::numeric as rest
    from denials as d cross join lateral jsonb_array_elements(d.refusals) as r (value)
    cross join lateral (
        select (r.value ->> 'subject')::jsonb - 'user' as rest, (r.value ->> 'subject')::jsonb ->> 'user' as user_id
    ) as said
    left join accounts as a on a.tenant_id = :tenant and a.account_id = (r.value ->> 'account_id')::bigint
    left join erasures as of_account on of_account.tenant_id = :tenant
        and of_account.user_id = a.subject::jsonb ->> 'user' and a.account_id <= of_account.last_id
    left join erasures as of_denial on of_denial.tenant_id = :tenant
        and of_denial.user_id = said.user_id and d.denial_id <= of_denial.last_id
    where d.tenant_id = :tenant
), told as (
    select denial_id, bool_or(hard) as hard,
           bool_and(known and rest = available and (code <> 'budget_exceeded' or requested > available)) as right_said
    from refusal group by denial_id
)
select d.denial_id, d.code, d.enforced, d.refusals
from denials as d left join told as t using (denial_id)
where d.tenant_id = :tenant
  and case when d.code = 'not_allocated' then t.denial_id is not null
      else t.denial_id is null or t.hard <> d.enforced or not t.right_said end
"""

# Late is what was booked after the hold had ended in another way.
SETTLEMENTS = """
select r.reservation_id, r.state, r.event_id, e.event_id as journal_event_id, e.calls, e.late
from (select * from reservations where tenant_id = :tenant and event_id > :cut) as r
full join (
    select * from usage_events
    where tenant_id = :tenant and event_id > :cut and reservation_id is not null and not part
) as e on e.reservation_id = r.reservation_id
where r.reservation_id is null or e.event_id is null or e.event_id <> r.event_id or e.path <> r.path
   or e.late <> (r.ended_id <> r.event_id) or e.calls <> 1
"""

# A lease may be over and forgotten while a last call of it is still reported, but only a late one.
DRAWS = """
select e.event_id, e.reservation_id, r.state, r.ended_id, r.event_id as settling_event_id, e.calls, e.late
from usage_events as e
left join reservations as r on r.tenant_id = e.tenant_id and r.reservation_id = e.reservation_id
where e.tenant_id = :tenant and e.event_id > :cut and e.part
  and case when r.reservation_id is null then e.reservation_id is null or e.reservation_id > :cut or not e.late
      else e.path <> r.path or e.calls <> r.lease::integer or e.event_id < r.reservation_id
           or e.late <> (r.ended_id is not null and e.event_id > r.ended_id)
           or e.event_id > r.event_id or (r.state = 'released' and e.event_id > r.ended_id) end
"""

# Of a hold that was given before the cut, some parts may be forgotten.
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

OVERRUNS = """
with used as (
    select e.event_id, e.reservation_id, e.overrun, r.reservation_id is not null as known,
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
where overrun <> (known and (tokens > held_tokens or uncached_tokens > held_uncached_tokens or nanos > held_nanos
                             or calls_before >= held_calls))
"""

CHECKS = {
    "what a hold sets aside is that of its calls": SIZES,
    "denials name accounts that had too little left": DENIALS,
    "settled holds and their events belong together": SETTLEMENTS,
    "parts of calls and their holds belong together": DRAWS,
    "what was drawn on a hold is the sum of its parts": DRAWN,
    "overruns are where more was used than held": OVERRUNS,
}
