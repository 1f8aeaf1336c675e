"""Check of verify: what is left of grants follows from the highest use that there was when they were looked at (D6).

They are looked at when another is given and when some lapse. What was used then is computed from the movements.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.analytics.movements import MOVEMENTS, each_unit
from token_ledger.core.account import Grant, spend_grants
from token_ledger.storage.rows import GRANT_COLUMNS, grant_from

LEFT = "what is left of grants follows from the use of their account"

# A lapse that takes nothing back leaves no entry: it has an instant and no id. It comes before all that a batch does
# but for the holds that have expired. Where an instant tells less (the clock was set back, so that batches share one,
# or a hold was forced to expire at that of a lapse), nothing can be said of the account; nor if the cut lies between.
_MOMENTS = f"""
with watched as (
    select a.account_id, a.counts from accounts as a where a.tenant_id = :tenant and a.account_id in (
        select account_id from grants where tenant_id = :tenant group by account_id having min(grant_id) > :cut
    )
), {MOVEMENTS}, looked_at as (
    select account_id, given_at as at, 2 as phase, grant_id as id, grant_id
    from grants join watched using (account_id) where tenant_id = :tenant
    union
    select account_id, lapsed_at, 1, 0, null
    from grants join watched using (account_id) where tenant_id = :tenant and lapsed_at is not null
), unclear as (
    select account_id from movement join (select distinct account_id, at from looked_at) as l using (account_id, at)
    group by account_id, at having min(id >> 16) <> max(id >> 16)
    union
    select l.account_id from looked_at as l join audit_log as f on f.booked_at = l.at
    where l.phase = 1 and f.tenant_id = :tenant and f.action = 'reservation.force_release'
), ordered as (
    select account_id, at, case when by_time then 0 else 2 end as phase, id, null::bigint as grant_id, false as looks,
           {each_unit("{u}")} from movement
    union all
    select account_id, at, phase, id, grant_id, true, 0, 0, 0 from looked_at
), running as (
    select account_id, at, phase, id, grant_id, looks, {each_unit("(sum({u}) over w)::bigint as {u}")} from ordered
    window w as (partition by account_id order by at, phase, id)
)
select account_id, at, grant_id, {each_unit("{u}")} from running
where looks and account_id not in (select account_id from unclear) order by account_id, at, phase, id
"""

_GRANTS = f"select {GRANT_COLUMNS} from grants where tenant_id = :tenant and grant_id > :cut"


async def find_wrong_grants(connection: AsyncConnection, values: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """Return at most so many grants of which more or less is left than their account's use says."""
    stored = {grant.grant_id: grant for grant in map(grant_from, await connection.execute(text(_GRANTS), values))}
    expected: list[Grant] = []
    account_id, open_grants = 0, list[Grant]()
    for moment in await connection.execute(text(_MOMENTS), values):
        if moment.account_id != account_id:
            account_id, open_grants = moment.account_id, []
        used = moment.tokens, moment.nanos, moment.calls
        spend_grants(open_grants, used)
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
        for found, grant in wrong[:most]
    ]
