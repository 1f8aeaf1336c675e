"""The checks of `verify` on limits: their journal, room for every hold, grants, thresholds, increases, steps."""

from token_ledger.analytics.checks import COUNTED, EVENT_TOKENS

LIMITS = """
with journal as (
    select account_id, sum(tokens)::bigint as tokens, sum(nanos)::bigint as nanos, sum(calls)::bigint as calls,
           count(*) filter (where kind = 'opening') as openings
    from limit_entries where tenant_id = :tenant group by account_id
)
select a.account_id, a.budget, a.subject from accounts as a left join journal as j using (account_id)
where a.tenant_id = :tenant
  and (a.limit_tokens, a.limit_nanos, a.limit_calls, 1) is distinct from (j.tokens, j.nanos, j.calls, j.openings)
"""

# Every movement of every account in the order of decisions, limits too; a hold must have had room when it was given,
# if its account was one that denies at that place. A part moves what it used from held to settled: of what is held,
# as much as the hold still has, which follows from the sums of its parts so far. What is left goes free at the end.
_DRAWS = f"""
select e.event_id, e.reservation_id, p.account_id,
       {EVENT_TOKENS} as tokens, e.cost_nanos as nanos, e.calls as calls,
       {COUNTED.format(all="r.held_tokens", uncached="r.held_uncached_tokens")} as held_tokens,
       r.held_nanos, r.held_calls, r.ended_id,
       sum({EVENT_TOKENS}) over w as sum_tokens, sum(e.cost_nanos) over w as sum_nanos, sum(e.calls) over w as sum_calls
from usage_events as e cross join lateral unnest(e.path) as p (account_id)
join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
join reservations as r on r.tenant_id = e.tenant_id and r.reservation_id = e.reservation_id
where e.tenant_id = :tenant and e.part
window w as (partition by e.reservation_id, p.account_id order by e.event_id)
"""
ROOM = f"""
with draws as materialized ({_DRAWS}), drawn_in_time as (
    select reservation_id, account_id, max(sum_tokens) as tokens, max(sum_nanos) as nanos, max(sum_calls) as calls
    from draws where ended_id is null or event_id < ended_id group by reservation_id, account_id
), holds as (
    select r.reservation_id, r.ended_id, p.account_id,
           {COUNTED.format(all="r.held_tokens", uncached="r.held_uncached_tokens")} as tokens,
           r.held_nanos as nanos, r.held_calls as calls
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant
), movement as (
    select account_id, reservation_id as id, true as given, tokens, nanos, calls,
           0 as limit_tokens, 0 as limit_nanos, 0 as limit_calls, 0 as hard,
           null::bigint as limited_tokens, null::bigint as limited_nanos, null::bigint as limited_calls
    from holds
    union all
    select h.account_id, h.ended_id, false, -greatest(0, h.tokens - coalesce(d.tokens, 0)),
           -greatest(0, h.nanos - coalesce(d.nanos, 0)), -greatest(0, h.calls - coalesce(d.calls, 0)), 0, 0, 0, 0, null, null, null
    from holds as h left join drawn_in_time as d using (reservation_id, account_id) where h.ended_id is not null
    union all
    select account_id, event_id, false,
           -(least(held_tokens, sum_tokens) - least(held_tokens, sum_tokens - tokens)),
           -(least(held_nanos, sum_nanos) - least(held_nanos, sum_nanos - nanos)),
           -(least(held_calls, sum_calls) - least(held_calls, sum_calls - calls)), 0, 0, 0, 0, null, null, null
    from draws where ended_id is null or event_id < ended_id
    union all
    select p.account_id, e.event_id, false, {EVENT_TOKENS}, e.cost_nanos, e.calls, 0, 0, 0, 0, null, null, null
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant
    union all
    select account_id, entry_id, false, 0, 0, 0, coalesce(tokens, 0), coalesce(nanos, 0), coalesce(calls, 0), hard,
           tokens, nanos, calls
    from limit_entries where tenant_id = :tenant
), running as (
    select account_id, id, given, sum(tokens) over w as tokens, sum(nanos) over w as nanos, sum(calls) over w as calls,
           sum(limit_tokens) over w as limit_tokens, sum(limit_nanos) over w as limit_nanos,
           sum(limit_calls) over w as limit_calls, count(limited_tokens) over w > 0 as tokens_limited,
           count(limited_nanos) over w > 0 as nanos_limited, count(limited_calls) over w > 0 as calls_limited,
           sum(hard) over (partition by account_id) - sum(hard) over w as hardened_later
    from movement window w as (partition by account_id order by id)
)
select m.account_id, m.id as reservation_id, m.tokens, m.nanos, m.calls, m.limit_tokens, m.limit_nanos, m.limit_calls
from running as m join accounts as a on a.tenant_id = :tenant and a.account_id = m.account_id
where m.given and (a.enforcement = 'hard')::int - m.hardened_later = 1
  and ((m.tokens_limited and m.tokens > m.limit_tokens) or (m.nanos_limited and m.nanos > m.limit_nanos)
       or (m.calls_limited and m.calls > m.limit_calls))
"""

GRANTS = """
select g.grant_id, g.account_id from grants as g
left join limit_entries as e on e.tenant_id = g.tenant_id and e.account_id = g.account_id and e.entry_id = g.grant_id
left join limit_entries as l on l.tenant_id = g.tenant_id and l.account_id = g.account_id and l.kind = 'lapse'
     and l.reason = 'grant ' || g.grant_id
where g.tenant_id = :tenant
  and (e.kind is distinct from 'grant' or (e.tokens, e.nanos, e.calls) is distinct from (g.tokens, g.nanos, g.calls)
       or g.left_tokens > g.tokens or g.left_nanos > g.nanos or g.left_calls > g.calls
       or least(g.left_tokens, g.left_nanos, g.left_calls) < 0
       or (g.lapsed_at is not null and (-coalesce(l.tokens, 0), -coalesce(l.nanos, 0), -coalesce(l.calls, 0))
           is distinct from (coalesce(g.left_tokens, 0), coalesce(g.left_nanos, 0), coalesce(g.left_calls, 0)))
       or (g.lapsed_at is null and l.entry_id is not null))
union all
select e.entry_id, e.account_id from limit_entries as e
where e.tenant_id = :tenant and e.kind = 'grant'
  and not exists (select from grants as g where g.tenant_id = e.tenant_id and g.grant_id = e.entry_id)
union all
select a.account_id, a.account_id from accounts as a where a.tenant_id = :tenant and a.grants_until is distinct from (
    select min(g.expires_at) from grants as g
    where g.tenant_id = a.tenant_id and g.account_id = a.account_id and g.lapsed_at is null
)
"""

_UNITS = ("tokens", "nanos", "calls")


def _reached(unit: str) -> str:
    return (
        f"coalesce((select max(t) from unnest(a.thresholds) as t"
        f" where a.settled_{unit} > 0 and a.settled_{unit}::numeric * 100 >= t::numeric * a.limit_{unit}), 0)"
    )


# What is reached now, and that the events of one threshold alternate, the first and every other one being a firing.
THRESHOLDS = f"""
select a.account_id, a.budget, a.subject from accounts as a
where a.tenant_id = :tenant
  and (a.fired_tokens, a.fired_nanos, a.fired_calls) is distinct from ({", ".join(map(_reached, _UNITS))})
union all
select account_id, unit, percent::text from (
    select account_id, unit, percent, fired, row_number() over w as place, last_value(fired) over (
        partition by account_id, unit, percent order by threshold_id
        rows between unbounded preceding and unbounded following
    ) as fired_last
    from threshold_events where tenant_id = :tenant
    window w as (partition by account_id, unit, percent order by threshold_id)
) as e
where fired <> (place % 2 = 1) or fired_last <> (
    percent <= (select case e.unit when 'tokens' then a.fired_tokens when 'cost' then a.fired_nanos
                                   else a.fired_calls end
                from accounts as a where a.tenant_id = :tenant and a.account_id = e.account_id)
)
"""

INCREASES = """
select i.increase_id, i.state from increases as i
where i.tenant_id = :tenant and i.state = 'approved' and i.grant_id is not null
  and not exists (select from grants as g where g.tenant_id = i.tenant_id and g.grant_id = i.grant_id
                  and (g.tokens, g.nanos, g.calls) is not distinct from (i.tokens, i.nanos, i.calls))
union all
(select account_id, 'entries' from limit_entries where tenant_id = :tenant and kind = 'increase'
 group by account_id, tokens, nanos, calls
 having count(*) <> (
    select count(*) from increases as i
    where i.tenant_id = :tenant and i.account_id = limit_entries.account_id and i.state = 'approved'
      and i.grant_id is null
      and (i.tokens, i.nanos, i.calls)
          is not distinct from (limit_entries.tokens, limit_entries.nanos, limit_entries.calls)
 ))
"""

STEPS = """
select r.run_id, r.iterations from runs as r
where r.tenant_id = :tenant and r.iterations <> (
    select count(*) from run_steps as s join runs as made on made.tenant_id = s.tenant_id and made.run_id = s.run_id
    where s.tenant_id = r.tenant_id and r.run_id = any(made.ancestors || made.run_id)
)
"""

CLOSED = """
select account_id, budget, subject from accounts
where tenant_id = :tenant and closed_at is not null
  and (held_calls <> 0 or held_tokens <> 0 or held_nanos <> 0 or window_end is null or closed_at < window_end)
"""

# Each kind of change leaves an entry in the audit log.
AUDITED = """
select b.budget_id, 'budget.create' as action from budgets as b
where b.tenant_id = :tenant and exists (
        select from audit_log as first where first.tenant_id = b.tenant_id and first.audit_id < b.budget_id)
  and not exists (select from audit_log as l where l.tenant_id = b.tenant_id
                  and l.action = 'budget.create' and l.target = b.budget_id::text)
union all
select i.increase_id, i.state from increases as i
where i.tenant_id = :tenant and i.state <> 'asked'
  and not exists (select from audit_log as l where l.tenant_id = i.tenant_id
                  and l.action in ('increase.approve', 'increase.refuse') and l.target = i.increase_id::text)
"""

LIMIT_CHECKS = {
    "limits are the sums of their journal": LIMITS,
    "every hold had room when it was given": ROOM,
    "grants and their lapses are in the journal": GRANTS,
    "thresholds are reached as the balances say": THRESHOLDS,
    "approved increases are in the journal": INCREASES,
    "iterations are the steps that were taken": STEPS,
    "closed accounts hold nothing": CLOSED,
    "what administrators changed is in the audit log": AUDITED,
}
