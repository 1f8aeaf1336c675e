"""Checks: thresholds fire, and are armed again, according to the settled amounts."""

from token_ledger.proof.check import sql_check

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

# A threshold that an account no longer has is withdrawn, whatever is settled, so that it can fire again. Events of
# accounts whose window ended before the cut may be gone.
THRESHOLDS = f"""
with units as ({_UNITS_OF_ACCOUNT} and (a.window_end is null or a.window_end > :cut_at)),
history as (
    select e.*, lag(e.fired) over (partition by e.account_id, e.unit, e.percent order by e.threshold_id) as before,
           lead(true) over (partition by e.account_id, e.unit, e.percent order by e.threshold_id) is null as newest
    from threshold_events as e where e.tenant_id = :tenant
), expected as (
    select u.account_id, u.unit, t.percent, t.percent <= u.fired as fired
    from units as u cross join lateral unnest(u.thresholds) as t (percent)
)
select e.account_id, e.unit, e.percent, e.fired, e.threshold_id, e.settled, e.limit_amount
from history as e join units as u using (account_id, unit)
where e.fired = coalesce(e.before, false)
   or case when e.withdrawn then e.fired
      else e.fired <> (e.settled > 0 and e.settled::numeric * 100 >= e.percent::numeric * e.limit_amount) end
   or (e.newest and e.fired and (u.limit_amount is null or e.percent <> all (u.thresholds)))
union all
select x.account_id, x.unit, x.percent, x.fired, e.threshold_id, e.settled, e.limit_amount
from expected as x left join (select * from history where newest) as e using (account_id, unit, percent)
where x.fired <> coalesce(e.fired, false)
"""

CHECKS = (
    sql_check("the highest threshold that has fired matches the settled amount", FIRED),
    sql_check("thresholds fire and are armed again in turn", THRESHOLDS),
)
