"""Checks: grants, what remains of them and their lapses follow from the journal and from their account's use."""

from dataclasses import replace

from sqlalchemy import text

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.model.account import Grant, end_grants, spend_grants
from token_ledger.proof.check import Check, Row, Scope, each_unit, sql_check
from token_ledger.proof.movements import MOVEMENTS
from token_ledger.storage.rows import GRANT

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

# A lapse takes back only what was not used, once per grant.
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

# What remains of an account's grants is updated at three kinds of moments: when another grant is given, when grants
# lapse, and when a limit is taken away, with which the grants in its unit end (`bounds`).
# This query returns each moment with what was used (settled and held) just before it, from the movements.
# A lapse that takes nothing back has an instant but no id. Within a batch it comes after the expiries and before
# everything else, which `phase` expresses. Accounts are left out where that order can't be told: where two batches
# have the same instant or a later one an earlier instant (the clock was set back), where a hold was force-released at
# the instant of a lapse, and where grants were given before the cut.
_MOMENTS = f"""
with recursive watched as (
    select a.account_id, a.counts from accounts as a where a.tenant_id = :tenant and a.account_id in (
        select account_id from grants where tenant_id = :tenant group by account_id having min(grant_id) > :cut
    )
), {MOVEMENTS}, moment as (
    select account_id, given_at as at, 2 as phase, grant_id as id, grant_id, null::smallint[] as bounds
    from grants join watched using (account_id) where tenant_id = :tenant
    union
    select account_id, lapsed_at, 1, 0, null, null
    from grants join watched using (account_id) where tenant_id = :tenant and lapsed_at is not null
    union
    select account_id, booked_at, 2, entry_id, null, array[{each_unit("bound_{u}")}]
    from limit_entries join watched using (account_id)
    where tenant_id = :tenant and least({each_unit("bound_{u}")}) < 0
), ambiguous as (
    select account_id from movement join (select distinct account_id, at from moment) as l using (account_id, at)
    group by account_id, at having min(id >> {ORDINAL_BITS}) <> max(id >> {ORDINAL_BITS})
    union
    select account_id from (
        select account_id, at, max(at) over (
            partition by account_id order by id rows between unbounded preceding and 1 preceding
        ) as latest from movement
    ) as m where at < latest
    union
    select account_id from grants where tenant_id = :tenant and lapsed_at < given_at
    union
    select l.account_id from moment as l join audit_log as f on f.booked_at = l.at
    where l.phase = 1 and f.tenant_id = :tenant and f.action = 'reservation.force_release'
), ordered as (
    select account_id, at, case when by_time then 0 else 2 end as phase, id, null::bigint as grant_id,
           null::smallint[] as bounds, false as is_moment, {each_unit("{u}")} from movement
    union all
    select account_id, at, phase, id, grant_id, bounds, true, 0, 0, 0 from moment
), running as (
    select account_id, at, phase, id, grant_id, bounds, is_moment,
           {each_unit("(sum({u}) over w)::bigint as {u}")} from ordered
    window w as (partition by account_id order by at, phase, id)
)
select account_id, at, grant_id, bounds, {each_unit("{u}")} from running
where is_moment and account_id not in (select account_id from ambiguous) order by account_id, at, phase, id
"""

_GRANTS = f"select {GRANT.select()} from grants where tenant_id = :tenant and grant_id > :cut"


async def _find_wrong_remainders(scope: Scope) -> list[Row]:
    """Apply the core's rule at every moment, and return the grants whose stored remainder differs."""
    connection, values = scope.connection, scope.parameters
    stored = {grant.grant_id: grant for grant in map(GRANT.read, await connection.execute(text(_GRANTS), values))}
    expected: list[Grant] = []
    account_id, open_grants = 0, list[Grant]()
    for moment in await connection.execute(text(_MOMENTS), values):
        if moment.account_id != account_id:
            account_id, open_grants = moment.account_id, []
        used = moment.tokens, moment.nanos, moment.calls
        spend_grants(open_grants, used)
        if moment.bounds is not None:
            end_grants(open_grants, moment.bounds)
            continue
        if moment.grant_id is None:
            open_grants = [grant for grant in open_grants if grant.lapsed_at != moment.at]
            continue
        given = stored[moment.grant_id]
        grant = replace(given, left=given.amounts, mark=open_grants[0].mark if open_grants else used)
        open_grants.append(grant)
        expected.append(grant)
    wrong = [(stored[grant.grant_id], grant) for grant in expected if grant != stored[grant.grant_id]]
    return [
        {
            "grant_id": found.grant_id,
            "account_id": found.account_id,
            "left": found.left.amounts,
            "mark": found.mark,
            "expected_left": grant.left.amounts,
            "expected_mark": grant.mark,
        }
        for found, grant in wrong[: scope.most_rows]
    ]


REMAINDERS = Check("what remains of grants follows from the use of their account", _find_wrong_remainders)

CHECKS = (
    sql_check("grants are in the journal, and no more remains of them than was given", GRANTS),
    sql_check("a grant's lapse takes back what remained of it, once", LAPSES),
    sql_check("accounts know when their next grant ends", GRANTED_ACCOUNTS),
    REMAINDERS,
)
