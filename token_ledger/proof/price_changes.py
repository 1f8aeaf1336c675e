"""Check: whatever a tenant has added to the price book is in its audit log, with who did it."""

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.model.discount import WHOLE
from token_ledger.proof.check import sql_check

PRICES = f"""
with log as (select * from audit_log where tenant_id = :tenant
    and action in ('price.set', 'alias.set', 'discount.set', 'model.set')
)
select 'price' as found, price_id as id, provider, model from tenant_prices as p
where tenant_id = :tenant and not exists (
    select from log where action = 'price.set' and target = p.provider || '/' || p.model
      and audit_id >> {ORDINAL_BITS} = -p.price_id >> {ORDINAL_BITS} and (after -> 'rates') is not distinct from p.rates
      and (p.rates is null or after ->> 'price_id' = p.price_id::text)
      and (p.rates is null or (after ->> 'valid_from')::timestamptz = p.valid_from)
)
union all
select 'alias', alias_id, provider, model from tenant_aliases as a
where tenant_id = :tenant and not exists (
    select from log where action = 'alias.set' and target = a.provider || '/' || a.model
      and audit_id >> {ORDINAL_BITS} = a.alias_id >> {ORDINAL_BITS}
      and after #>> '{{stands_for,provider}}' is not distinct from a.to_provider
      and after #>> '{{stands_for,model}}' is not distinct from a.to_model
)
union all
select 'discount', discount_id, provider, model from tenant_discounts as d
where tenant_id = :tenant and not exists (
    select from log where action = 'discount.set' and target = d.provider || '/' || d.model
      and audit_id >> {ORDINAL_BITS} = d.discount_id >> {ORDINAL_BITS}
      and ((after ->> 'factor')::numeric * {WHOLE}) is not distinct from d.factor
      and (d.factor is null or after ->> 'discount_id' = d.discount_id::text)
      and (d.factor is null or (after ->> 'valid_from')::timestamptz = d.valid_from)
      and (d.factor is null or (after ->> 'valid_until')::timestamptz is not distinct from d.valid_until)
)
union all
select 'facts', facts_id, provider, model from tenant_models as m
where tenant_id = :tenant and not exists (
    select from log where action = 'model.set' and target = m.provider || '/' || m.model
      and audit_id >> {ORDINAL_BITS} = m.facts_id >> {ORDINAL_BITS}
      and coalesce(after, 'null') is not distinct from coalesce(m.facts, 'null')
)
"""

CHECKS = (sql_check("prices, aliases, discounts and facts of models are in the audit log", PRICES),)
