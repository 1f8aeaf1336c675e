"""Checks: limits of accounts, whether they are hard, and increases follow from the journal of limits."""

from token_ledger.proof.check import each_unit, sql_check
from token_ledger.proof.movements import BOUND

# Where the journal has taken a limit away, its amounts add up to nothing.
LIMITS = f"""
with entries as (
    select account_id, entry_id, kind, {each_unit("{u}")}, {each_unit(f"{BOUND} as bound_{{u}}")}
    from limit_entries where tenant_id = :tenant
), journal as (
    select account_id, {each_unit("case when sum(bound_{u}) = 1 or sum({u}) <> 0 then sum({u})::bigint end as {u}")},
           {each_unit("sum(bound_{u}) as bound_{u}")}, array_agg(entry_id) filter (where kind = 'opening') as openings
    from entries group by account_id
), accounts as (select * from accounts where tenant_id = :tenant)
select account_id, a.budget, a.subject, {each_unit("a.limit_{u}, j.{u} as journal_{u}")}, j.openings
from accounts as a full join journal as j using (account_id)
where j.openings is distinct from array[account_id] or a.budget is null
   or ({each_unit("a.limit_{u}")}) is distinct from ({each_unit("j.{u}")})
   or {each_unit("(a.limit_{u} is not null)::integer <> j.bound_{u}", " or ")}
"""

DENIES = """
with journal as (
    select account_id, sum(hard) as hard from limit_entries where tenant_id = :tenant group by account_id
)
select account_id, a.budget, a.subject, a.enforcement, j.hard as journal_hard
from accounts as a join journal as j using (account_id)
where a.tenant_id = :tenant and (a.enforcement = 'hard')::integer <> j.hard
"""

# Rows of older versions have no base amounts. What was taken over before a limit was taken away counts no more.
TERMS = f"""
with removed as (
    select account_id, {each_unit("max(entry_id) filter (where bound_{u} < 0) as {u}")}
    from limit_entries where tenant_id = :tenant group by account_id
), journal as (
    select account_id, {each_unit("sum(e.{u}) filter (where e.entry_id > coalesce(r.{u}, 0))::bigint as {u}")}
    from limit_entries as e join removed as r using (account_id)
    where e.tenant_id = :tenant and e.kind in ('opening', 'change') group by account_id
), stated as (
    select account_id, 'budget' as of, {each_unit("base_{u} as {u}")} from accounts
    where tenant_id = :tenant and budget_id <> 0 and num_nonnulls({each_unit("base_{u}")}) > 0
    union all
    select a.account_id, 'run', {each_unit("r.limit_{u}")} from runs as r
    join accounts as a on a.tenant_id = r.tenant_id and a.budget_id = 0 and a.subject = '{{"run":"' || r.run_id || '"}}'
    where r.tenant_id = :tenant
)
select s.account_id, s.of, {each_unit("s.{u}, t.{u} as journal_{u}")}
from stated as s left join journal as t using (account_id)
where ({each_unit("s.{u}")}) is distinct from ({each_unit("t.{u}")})
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

CHECKS = (
    sql_check("limits equal the sums of their journal entries", LIMITS),
    sql_check("accounts are hard exactly when their journal says so", DENIES),
    sql_check("the limits that accounts took over from budgets and runs are in their journal", TERMS),
    sql_check("exactly the approved increases are in the journal", INCREASES),
)
