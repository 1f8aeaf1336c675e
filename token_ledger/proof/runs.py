"""Checks: a run counts the steps of itself and its sub-runs, and sub-runs descend from their parents."""

from token_ledger.core.model.run import DEEPEST
from token_ledger.proof.check import sql_check

ITERATIONS = """
with taken as (
    select run_id, sum(steps) as steps from (
        select run_id, 1 as steps from run_steps where tenant_id = :tenant
        union all select run_id, steps from step_checkpoints where tenant_id = :tenant
    ) as all_steps group by run_id
), counted as (
    select part.counts_for as run_id, sum(t.steps)::bigint as steps
    from runs as r cross join lateral unnest(r.ancestors || r.run_id) as part (counts_for)
    join taken as t on t.run_id = r.run_id where r.tenant_id = :tenant group by part.counts_for
), runs as (select * from runs where tenant_id = :tenant)
select coalesce(r.run_id, t.run_id) as run_id, r.iterations, c.steps
from runs as r left join counted as c using (run_id) full join taken as t using (run_id)
where r.run_id is null or r.iterations <> coalesce(c.steps, 0)
"""

# While a user is being erased, some of their runs have the name and others the pseudonym.
LINEAGE = f"""
select r.run_id, r.ancestors, parent.run_id as parent_run_id, parent.ancestors as parent_ancestors
from runs as r
left join runs as parent
  on parent.tenant_id = r.tenant_id and parent.run_id = r.ancestors[cardinality(r.ancestors)]
where r.tenant_id = :tenant and cardinality(r.ancestors) > 0
  and (parent.run_id is null or r.ancestors <> parent.ancestors || parent.run_id or parent.run_id > r.run_id
       or cardinality(r.ancestors) >= {DEEPEST} or r.cost_center <> parent.cost_center
       or (r.user_id <> parent.user_id and not exists (
           select from erasures as e where e.tenant_id = :tenant
           and array[e.user_id, e.pseudonym] @> array[r.user_id, parent.user_id]
       )))
"""

CHECKS = (
    sql_check("a run's iterations are the steps of it and of its sub-runs", ITERATIONS),
    sql_check("sub-runs descend from their parent and its ancestors", LINEAGE),
)
