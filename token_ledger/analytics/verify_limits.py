"""Checks of verify: limits, grants, increases and thresholds follow from their journals (design D6)."""

from token_ledger.analytics.movements import each_unit

LIMITS = f"""
with journal as (
    select account_id, {each_unit("sum({u})::bigint as {u}")},
           array_agg(entry_id) filter (where kind = 'opening') as openings
    from limit_entries where tenant_id = :tenant group by account_id
), accounts as (select * from accounts where tenant_id = :tenant)
select account_id, a.budget, a.subject, {each_unit("a.limit_{u}, j.{u} as journal_{u}")}, j.openings
from accounts as a full join journal as j using (account_id)
where j.openings is distinct from array[account_id] or a.budget is null
   or ({each_unit("a.limit_{u}")}) is distinct from ({each_unit("j.{u}")})
"""

DENIES = """
with journal as (
    select account_id, sum(hard) as hard from limit_entries where tenant_id = :tenant group by account_id
)
select account_id, a.budget, a.subject, a.enforcement, j.hard as journal_hard
from accounts as a join journal as j using (account_id)
where a.tenant_id = :tenant and (a.enforcement = 'hard')::integer <> j.hard
"""

# Accounts of the version before say nothing of what they took from their budget.
TERMS = f"""
with taken as (
    select account_id, {each_unit("sum({u})::bigint as {u}")}
    from limit_entries where tenant_id = :tenant and kind in ('opening', 'change') group by account_id
), stated as (
    select account_id, 'budget' as of, {each_unit("base_{u} as {u}")} from accounts
    where tenant_id = :tenant and budget_id <> 0 and num_nonnulls({each_unit("base_{u}")}) > 0
    union all
    select a.account_id, 'run', {each_unit("r.limit_{u}")} from runs as r
    join accounts as a on a.tenant_id = r.tenant_id and a.budget_id = 0 and a.subject = '{{"run":"' || r.run_id || '"}}'
    where r.tenant_id = :tenant
)
select s.account_id, s.of, {each_unit("s.{u}, t.{u} as journal_{u}")}
from stated as s left join taken as t using (account_id)
where ({each_unit("s.{u}")}) is distinct from ({each_unit("t.{u}")})
"""

GRANTS = f"""
with given as (select * from limit_entries where tenant_id = :tenant and kind = 'grant'),
grants as (select * from grants where tenant_id = :tenant)
select coalesce(g.grant_id, e.entry_id) as grant_id, {each_unit("g.{u}, g.left_{u}, e.{u} as journal_{u}")},
       g.expires_at, g.lapsed_at
from grants as g full join given as e on e.entry_id = g.grant_id and e.account_id = g.account_id
where g.grant_id is null or e.entry_id is null or ({each_unit("g.{u}")}) is distinct from ({each_unit("e.{u}")})
   or {each_unit("(g.left_{u} is null) <> (g.{u} is null) or g.left_{u} not between 0 and g.{u}", " or ")}
   or (g.lapsed_at is not null and g.lapsed_at < coalesce(g.expires_at, 'infinity'))
"""

# Only what no use had reached lapses, once for every grant.
LAPSES = f"""
with lapses as (
    select account_id, reason, count(*) as entries, {each_unit("-sum({u})::bigint as {u}")}
    from limit_entries where tenant_id = :tenant and kind = 'lapse' group by account_id, reason
), lapsed as (
    select * from grants where tenant_id = :tenant and lapsed_at is not null
      and ({each_unit("left_{u} > 0", " or ")})
)
select g.grant_id, coalesce(g.account_id, l.account_id) as account_id, l.reason, l.entries,
       {each_unit("g.left_{u}, l.{u} as lapsed_{u}")}
from lapsed as g full join lapses as l on l.account_id = g.account_id and l.reason = 'grant ' || g.grant_id
where l.entries is distinct from 1 or g.grant_id is null
   or ({each_unit("g.left_{u}")}) is distinct from ({each_unit("l.{u}")})
"""

GRANTED_ACCOUNTS = """
with open as (
    select account_id, min(expires_at) as until, count(distinct mark) as marks
    from grants where tenant_id = :tenant and lapsed_at is null group by account_id
)
select a.account_id, a.grants_until, o.until, o.marks from accounts as a left join open as o using (account_id)
where a.tenant_id = :tenant and (a.grants_until is distinct from o.until or o.marks > 1)
"""

INCREASES = f"""
select increase_id, state from increases as i where tenant_id = :tenant and (
    (state = 'asked') <> (decided_at is null) or (state <> 'approved' and grant_id is not null)
    or (grant_id is not null and not exists (
        select from grants as g where g.tenant_id = :tenant and g.grant_id = i.grant_id
        and g.account_id = i.account_id and ({each_unit("g.{u}")}) is not distinct from ({each_unit("i.{u}")})
    ))
)
union all
select account_id, 'raised ' || sum(raised) || ' times more than approved' from (
    select account_id, {each_unit("{u}")}, decided_at as at, -1 as raised from increases
    where tenant_id = :tenant and state = 'approved' and grant_id is null
    union all
    select account_id, {each_unit("{u}")}, booked_at, 1 from limit_entries
    where tenant_id = :tenant and kind = 'increase'
) as both_ways group by account_id, {each_unit("{u}")}, at having sum(raised) <> 0
"""

_UNITS_OF_ACCOUNT = """
    select a.account_id, a.window_end, a.thresholds, u.*
    from accounts as a cross join lateral (values
        ('tokens', a.limit_tokens, a.settled_tokens, a.fired_tokens),
        ('cost', a.limit_nanos, a.settled_nanos, a.fired_nanos),
        ('calls', a.limit_calls, a.settled_calls, a.fired_calls)
    ) as u (unit, limit_amount, settled, fired)
    where a.tenant_id = :tenant
"""

FIRED = f"""
with units as ({_UNITS_OF_ACCOUNT}), compared as (
    select u.*, coalesce((
        select max(percent) from unnest(u.thresholds) as t (percent)
        where u.settled > 0 and u.settled::numeric * 100 >= percent::numeric * u.limit_amount
    ), 0) as reached from units as u
)
select account_id, unit, limit_amount, settled, fired, reached from compared where fired <> reached
"""

# Events of accounts whose window ended before the cut may be forgotten.
THRESHOLDS = f"""
with units as ({_UNITS_OF_ACCOUNT} and (a.window_end is null or a.window_end > :cut_at)),
told as (
    select e.*, lag(e.fired) over (partition by e.account_id, e.unit, e.percent order by e.threshold_id) as before,
           lead(true) over (partition by e.account_id, e.unit, e.percent order by e.threshold_id) is null as newest
    from threshold_events as e where e.tenant_id = :tenant
), expected as (
    select u.account_id, u.unit, t.percent, t.percent <= u.fired as fired
    from units as u cross join lateral unnest(u.thresholds) as t (percent)
)
select e.account_id, e.unit, e.percent, e.fired, e.threshold_id, e.settled, e.limit_amount
from told as e join units as u using (account_id, unit)
where e.fired = coalesce(e.before, false)
   or e.fired <> (e.settled > 0 and e.settled::numeric * 100 >= e.percent::numeric * e.limit_amount)
union all
select x.account_id, x.unit, x.percent, x.fired, e.threshold_id, e.settled, e.limit_amount
from expected as x left join (select * from told where newest) as e using (account_id, unit, percent)
where x.fired <> coalesce(e.fired, false)
"""

CHECKS = {
    "limits are the sums of their journal": LIMITS,
    "accounts deny when their journal says so": DENIES,
    "what accounts took from budgets and runs is in their journal": TERMS,
    "grants are in the journal, and no more of them is left than was given": GRANTS,
    "of a grant lapses what is left, once": LAPSES,
    "accounts know when their next grant lapses": GRANTED_ACCOUNTS,
    "approved increases are in the journal, and only those": INCREASES,
    "thresholds that have fired follow from what is settled": FIRED,
    "thresholds fire and re-arm in turn": THRESHOLDS,
}
