"""Checks of verify: every row has the key that made it, ids follow the sequence, changes are in the audit log."""

from token_ledger.core.books import ORDINAL_BITS

# What a key of each kind can lead to. Of triggers, runs, budgets and increases older ones than the cut are kept.
_ANSWERED = """
    select 'event' as answer, event_id as target_id from usage_events where tenant_id = :tenant
    union all select 'reservation', reservation_id from reservations where tenant_id = :tenant
    union all select 'denial', denial_id from denials where tenant_id = :tenant and enforced
    union all select 'kept', quarantine_id from quarantine where tenant_id = :tenant
    union all select 'run', run_id from runs where tenant_id = :tenant
    union all select 'step', step_id from run_steps where tenant_id = :tenant
    union all select 'budget', budget_id from budgets where tenant_id = :tenant
    union all select 'trigger', trigger_id from triggers where tenant_id = :tenant
    union all select 'increase', increase_id from increases where tenant_id = :tenant
    union all select 'grant', grant_id from grants as g where tenant_id = :tenant and not exists (
        select from increases as i where i.tenant_id = :tenant and i.grant_id = g.grant_id
    )
    union all select 'audit', audit_id from audit_log where tenant_id = :tenant
        and action in ('users.set', 'user.erase', 'calendar.set', 'tenant.stop', 'tenant.resume')
"""

# The rows below can have other keys besides: of a release or an extension, of the end of a run, of a decision. A run
# has one key more for every process that attached to it; a trigger that was set anew keeps its key.
KEYS = f"""
with answered as ({_ANSWERED}), keyed as (
    select answer, target_id, count(*) as keys,
           count(*) filter (where case answer
               when 'reservation' then source in ('reserve', 'lease') when 'run' then source = 'run'
               when 'budget' then source in ('budget', 'budget_replacement')
               when 'increase' then source = 'increase' else true end) as made_by
    from operation_keys where tenant_id = :tenant group by answer, target_id
)
select answer, target_id, a.target_id is not null as there, k.keys
from answered as a full join keyed as k using (answer, target_id)
where target_id > :cut and case when a.target_id is null then answer <> 'trigger'
    when answer = 'run' then k.made_by is null or k.made_by < 1 else k.made_by is distinct from 1 end
"""

_IDS = {
    "usage_events": "event_id", "reservations": "greatest(reservation_id, ended_id)", "denials": "denial_id",
    "limit_entries": "entry_id", "accounts": "account_id", "runs": "run_id", "run_steps": "step_id",
    "quarantine": "quarantine_id", "threshold_events": "threshold_id", "increases": "increase_id",
    "audit_log": "audit_id", "budgets": "budget_id",
}  # fmt: skip
_ALL_IDS = " union all ".join(
    f"select '{table}' as found, max({name}) as id from {table} where tenant_id = :tenant"
    for table, name in _IDS.items()
)

SEQUENCES = f"""
select ids.found, l.sequence, ids.id >> {ORDINAL_BITS} as highest
from tenant_ledgers as l cross join ({_ALL_IDS}) as ids
where l.tenant_id = :tenant and ids.id >> {ORDINAL_BITS} > l.sequence
union all
select 'usage_events', event_id, count(*) from usage_events
where tenant_id = :tenant group by event_id having count(*) > 1
"""

# What the log says of each thing against what there is. The log began with a version of this service: what is older
# than a tenant's first entry was never in it.
AUDIT = """
with log as (select * from audit_log where tenant_id = :tenant),
since as (select coalesce(min(booked_at), 'infinity') as at from log),
made (action, target, times) as (
    select 'budget.create', budget_id::text, 1 from budgets, since where tenant_id = :tenant and created_at >= since.at
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
), told as (
    select action, target, count(*) as times from (
        select case action when 'budget.replace' then 'budget.create' else action end as action, target from log
        where action in (
            'budget.create', 'budget.replace', 'budget.archive', 'grant.give', 'increase.approve', 'increase.refuse',
            'calendar.set', 'quarantine.resolve', 'quarantine.dismiss'
        )
        union all
        select 'budget.archive', before ->> 'budget_id' from log where action = 'budget.replace'
    ) as each group by action, target
)
select action, target, m.times as made, t.times as told from made as m full join told as t using (action, target)
where m.times is distinct from t.times
"""

# The newest entry about a thing shows it as it stands.
STATES = """
with log as (
    select distinct on (case when action like 'tenant.%' then 'tenant' else split_part(action, '.', 1) end, target)
           action, target, after
    from audit_log where tenant_id = :tenant
      and action in (
          'budget.create', 'budget.change', 'budget.replace', 'trigger.set', 'run.change', 'tenant.stop',
          'tenant.resume'
      )
    order by case when action like 'tenant.%' then 'tenant' else split_part(action, '.', 1) end, target, audit_id desc
), stands (kind, target, shown) as (
    select 'budget', budget_id::text, jsonb_build_object(
        'limits', jsonb_build_object('tokens', limit_tokens, 'cost', limit_nanos, 'calls', limit_calls),
        'enforcement', enforcement, 'thresholds', thresholds) from budgets where tenant_id = :tenant
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
), told as (
    select split_part(action, '.', 1) as kind, target, case
        when after #> '{limits,cost}' is null or after #> '{limits,cost}' = 'null' then after
        else jsonb_set(after, '{limits,cost}', to_jsonb(((after #>> '{limits,cost}')::numeric * 1000000000)::bigint))
        end as shown
    from log
)
select kind, target, s.shown as stands, t.shown as told from told as t left join stands as s using (kind, target)
where s.shown is null or not t.shown @> s.shown
"""

CHECKS = {
    "every row has the key that made it, and only that": KEYS,
    "ids follow the sequence and occur once": SEQUENCES,
    "every change is in the audit log, once": AUDIT,
    "what is set up is what the audit log says": STATES,
}
