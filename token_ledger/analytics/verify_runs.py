"""Checks of verify: runs count the steps of all that is part of them, and sub-runs belong to their parents (D7)."""

from token_ledger.core.run import DEEPEST

ITERATIONS = """
with taken as (
    select run_id, sum(steps) as steps from (
        select run_id, 1 as steps from run_steps where tenant_id = :tenant
        union all select run_id, steps from step_checkpoints where tenant_id = :tenant
    ) as kept_and_forgotten group by run_id
), counted as (
    select part.counts_for as run_id, sum(t.steps)::bigint as steps
    from runs as r cross join lateral unnest(r.ancestors || r.run_id) as part (counts_for)
    join taken as t on t.run_id = r.run_id where r.tenant_id = :tenant group by part.counts_for
), runs as (select * from runs where tenant_id = :tenant)
select coalesce(r.run_id, t.run_id) as run_id, r.iterations, c.steps
from runs as r left join counted as c using (run_id) full join taken as t using (run_id)
where r.run_id is null or r.iterations <> coalesce(c.steps, 0)
"""

# The runs of a user who is being erased bear either name.
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

CHECKS = {
    "iterations are the steps of a run and of its sub-runs": ITERATIONS,
    "sub-runs are part of all that their parent is part of": LINEAGE,
}
