"""Checks: every row has the idempotency key that made it, and ids are unique and follow the sequence."""

from token_ledger.core.batch import administration, commands
from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.proof.check import sql_check

# The rows that keys lead to, by kind of answer. Triggers, runs, budgets and increases are kept beyond the cut.
_ANSWERED = """
    select 'event' as answer, event_id as target_id from usage_events
    where tenant_id = :tenant and corrects is null and recosts is null
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
        and action in (
            'users.set', 'user.erase', 'calendar.set', 'duplicates.set', 'tenant.stop', 'tenant.resume',
            'calls.reverse', 'calls.recost', 'model.rename', 'model.set', 'price.set', 'alias.set', 'discount.set',
            'quarantine.resolve_many', 'quarantine.dismiss_many', 'reconciliation.book'
        )
"""

# Some rows have more keys than the one that made them: of a release, an extension, the end of a run, a decision. A
# run has another one for every process that attached to it. A trigger that was set again keeps its first key.
KEYS = f"""
with answered as ({_ANSWERED}), keyed as (
    select answer, target_id, count(*) as keys,
           count(*) filter (where case answer
               when 'reservation' then verb in ('{commands.Reserve.verb}', '{commands.Lease.verb}')
               when 'run' then verb = '{commands.OpenRun.verb}'
               when 'budget' then verb in (
                   '{administration.CreateBudget.verb}', '{administration.ReplaceBudget.verb}'
               )
               when 'increase' then verb = '{administration.AskIncrease.verb}' else true end) as made_by
    from operation_keys cross join lateral (select split_part(source, '@', 1) as verb) as v
    where tenant_id = :tenant group by answer, target_id
)
select answer, target_id, a.target_id is not null as row_exists, k.keys
from answered as a full join keyed as k using (answer, target_id)
where target_id > :cut and case when a.target_id is null then answer <> 'trigger'
    when answer = 'run' then k.made_by is null or k.made_by < 1 else k.made_by is distinct from 1 end
"""

_IDS = {
    "usage_events": "event_id", "reservations": "greatest(reservation_id, ended_id)", "denials": "denial_id",
    "limit_entries": "entry_id", "accounts": "account_id", "runs": "run_id", "run_steps": "step_id",
    "quarantine": "quarantine_id", "threshold_events": "threshold_id", "increases": "increase_id",
    "audit_log": "audit_id", "budgets": "budget_id", "transfers": "transfer_id", "model_names": "decided_id",
    "tenant_prices": "-price_id", "tenant_aliases": "alias_id",
    "tenant_discounts": "discount_id", "tenant_models": "facts_id",
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

CHECKS = (
    sql_check("every row has the idempotency key that made it, and only that one", KEYS),
    sql_check("ids are unique and none is beyond the tenant's sequence", SEQUENCES),
)
