"""Checks: a model has one name in the books, the one that was decided for the name that a caller used."""

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.proof.check import sql_check


def _decided(provider: str, model: str) -> str:
    """Return the expression of what a name was in the books just before the row `at.id`."""
    return (
        f"(select m.provider || ' ' || m.model from model_names as m where m.tenant_id = :tenant"
        f" and m.asked_provider = {provider} and m.asked_model = {model} and m.decided_id < at.id"
        " order by m.decided_id desc limit 1)"
    )


# A hold has the model that was asked for, or that of a downgrade; an event that of its hold, unless the settle named
# one that is another model by now: not the one that was to be called, nor one that the name of the hold leads to. Names
# that are not stored beside an event are those of the books. Rows of the versions before the first decision are left
# out. Alike rows between two changes by an administrator are looked at together: the decision at the first and at the
# last of them must be theirs.
NAMES = f"""
with holds as (
    select r.*, d.step ->> 'to_provider' as called_provider, d.step ->> 'to_model' as called_model
    from reservations as r left join lateral (
        select fired.value -> 'downgrade' as step from jsonb_array_elements(coalesce(r.advice, '[]')) as fired (value)
        where (fired.value ->> 'applied')::boolean and fired.value -> 'downgrade' <> 'null' limit 1
    ) as d on true
    where r.tenant_id = :tenant
), named as (
    select reservation_id as id, coalesce(requested_provider, provider) as asked_provider,
           requested_model as asked_model, provider, model, null as held_provider, null as held_model,
           false as is_called
    from holds where called_model is null
    union all
    select e.event_id, coalesce(e.served_provider, e.requested_provider, e.provider),
           coalesce(e.served_model, e.requested_model, e.model), e.provider, e.model, h.provider, h.model,
           (e.served_provider, e.served_model) = (
               coalesce(h.called_provider, h.requested_provider, h.provider),
               coalesce(h.called_model, h.requested_model)
           )
    from usage_events as e left join holds as h using (reservation_id)
    where e.tenant_id = :tenant and e.event_id > :cut and e.corrects is null and e.recosts is null
      and (e.served_model is not null or e.reservation_id is null) and e.model <> ''
), changes as (
    select coalesce(array_agg(decided_id order by decided_id), '{{}}') as ids
    from model_names where tenant_id = :tenant and change_id is not null
), alike as (
    select asked_provider, asked_model, provider, model, held_provider, held_model, is_called,
           min(id) as first_id, max(id) as last_id
    from named cross join changes as c
    where id > (select coalesce(min(decided_id), 0) from model_names where tenant_id = :tenant)
    group by asked_provider, asked_model, provider, model, held_provider, held_model, is_called,
             width_bucket(id, c.ids)
), decided as (
    select a.*, at.id, {_decided("a.asked_provider", "a.asked_model")} as decided,
           a.held_provider || ' ' || a.held_model as held,
           {_decided("a.held_provider", "a.held_model")} as held_now
    from alike as a cross join lateral (values (first_id), (last_id)) as at (id)
)
select * from decided
where provider || ' ' || model is distinct from case
    when held is not null and (is_called or decided in (held, held_now)) then held else decided end
"""

CHANGES = f"""
with changed as (
    select change_id, count(*) as names from model_names
    where tenant_id = :tenant and change_id is not null group by change_id
), logged as (select * from audit_log where tenant_id = :tenant and action = 'model.rename')
select c.change_id, c.names, l.audit_id, l.after
from changed as c full join logged as l on l.audit_id = c.change_id
where c.names is distinct from (l.after ->> 'names')::bigint or exists (
    select from model_names as m where m.tenant_id = :tenant and m.change_id = l.audit_id
    and (m.provider, m.model) is distinct from (l.after ->> 'provider', l.after ->> 'model')
) or (l.after ->> 'accounts')::bigint > (
    select count(*) from transfers as t
    where t.tenant_id = :tenant and t.transfer_id >> {ORDINAL_BITS} = l.audit_id >> {ORDINAL_BITS}
)
"""

CHECKS = (
    sql_check("a model has the name in the books that was decided for the name that was used", NAMES),
    sql_check("names of models are changed as the audit log says", CHANGES),
)
