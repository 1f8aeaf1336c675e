"""Checks: the audit log has every administrative change, and its newest entries show the current set-up."""

from token_ledger.proof.check import sql_check

# Compares the changes that rows show with those in the log. Changes from before a tenant's first entry were made by
# a version without an audit log.
AUDIT = """
with log as (select * from audit_log where tenant_id = :tenant),
since as (select coalesce(min(booked_at), 'infinity') as at from log),
made as (
    select 'budget.create' as action, budget_id::text as target, 1 as times
    from budgets, since where tenant_id = :tenant and created_at >= since.at
    union all
    select 'budget.archive', budget_id::text, 1 from budgets, since
    where tenant_id = :tenant and archived_at >= since.at
    union all
    select 'grant.give', g.account_id::text, count(*) from grants as g where g.tenant_id = :tenant and not exists (
        select from increases as i where i.tenant_id = :tenant and i.grant_id = g.grant_id
    ) group by g.account_id
    union all
    select case state when 'approved' then 'increase.approve' else 'increase.refuse' end, increase_id::text, 1
    from increases where tenant_id = :tenant and state <> 'asked'
    union all
    select 'calendar.set', 'calendar', count(*) from calendar_changes where tenant_id = :tenant having count(*) > 0
    union all
    select case state when 'resolved' then 'quarantine.resolve' else 'quarantine.dismiss' end, quarantine_id::text, 1
    from quarantine_decisions where tenant_id = :tenant
), logged as (
    select action, target, count(*) as times from (
        select case action when 'budget.replace' then 'budget.create' else action end as action, target from log
        where action in (
            'budget.create', 'budget.replace', 'budget.archive', 'grant.give', 'increase.approve', 'increase.refuse',
            'calendar.set', 'quarantine.resolve', 'quarantine.dismiss'
        )
        union all
        select replace(action, '_many', ''), item from log
        cross join lateral jsonb_array_elements_text(after -> 'items') as items (item)
        where action in ('quarantine.resolve_many', 'quarantine.dismiss_many')
        union all
        select 'budget.archive', before ->> 'budget_id' from log where action = 'budget.replace'
    ) as each group by action, target
)
select action, target, m.times as made, t.times as logged from made as m full join logged as t using (action, target)
where m.times is distinct from t.times
"""

# The newest entry about a budget, trigger, run or tenant shows its current state.
STATES = """
with log as (
    select distinct on (case when action like 'tenant.%' then 'tenant' else split_part(action, '.', 1) end, target)
           action, target, after
    from audit_log where tenant_id = :tenant
      and action in (
          'budget.create', 'budget.change', 'budget.replace', 'trigger.set', 'run.change', 'tenant.stop',
          'tenant.resume', 'duplicates.set'
      )
    order by case when action like 'tenant.%' then 'tenant' else split_part(action, '.', 1) end, target, audit_id desc
), stored as (
    select 'budget' as kind, budget_id::text as target, jsonb_build_object(
        'limits', jsonb_build_object('tokens', limit_tokens, 'cost', limit_nanos, 'calls', limit_calls),
        'enforcement', enforcement, 'thresholds', thresholds)
        || jsonb_build_object('unassigned', unassigned, 'overrides', (
            select coalesce(jsonb_agg(jsonb_build_object('limits', case
                when o -> 'limits' = '{"tokens": null, "nanos": null, "calls": null}' then null
                else (o -> 'limits') - 'nanos' end)), '[]') from jsonb_array_elements(overrides) as o
        )) as shown from budgets where tenant_id = :tenant
    union all
    select 'trigger', kind, jsonb_build_object('at_percent', at_percent, 'mode', mode)
    from triggers where tenant_id = :tenant
    union all
    select 'run', run_id::text, jsonb_build_object(
        'limits', jsonb_build_object('tokens', limit_tokens, 'cost', limit_nanos, 'calls', limit_calls),
        'iterations', limit_iterations) from runs where tenant_id = :tenant
    union all
    select 'tenant', 'tenant', jsonb_build_object('stopped', stopped_reason)
    from tenant_ledgers where tenant_id = :tenant
    union all
    select 'duplicates', 'duplicates', jsonb_build_object('found', finds_duplicates)
    from tenant_ledgers where tenant_id = :tenant
), logged as (
    select split_part(action, '.', 1) as kind, target, case split_part(action, '.', 1) when 'budget'
        then '{"unassigned": "shared", "overrides": []}' else '{}'::jsonb end || case
        when after #> '{limits,cost}' is null or after #> '{limits,cost}' = 'null' then after
        else jsonb_set(after, '{limits,cost}', to_jsonb(((after #>> '{limits,cost}')::numeric * 1000000000)::bigint))
        end as shown
    from log
)
select kind, target, s.shown as stored, t.shown as logged from logged as t left join stored as s using (kind, target)
where s.shown is null or not t.shown @> s.shown
   or jsonb_array_length(t.shown -> 'overrides') <> jsonb_array_length(s.shown -> 'overrides')
"""

CHECKS = (
    sql_check("every administrative change is in the audit log, once", AUDIT),
    sql_check("the current set-up is what the audit log shows", STATES),
)
