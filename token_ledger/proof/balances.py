"""Checks: balances follow from usage events and holds, and every hold fitted the limits when it was granted.

Events up to `:cut` are gone; their sums are in the checkpoints, and only later events are added up here.
"""

from token_ledger.proof.check import each_unit, sql_check
from token_ledger.proof.movements import DRAWN_TOKENS, EVENT_TOKENS, HELD_TOKENS, LEGS, LIMIT, MOVEMENTS, places

SETTLED = f"""
with {LEGS}, carried as (
    select account_id, {each_unit("sum(sign * settled_{u})::bigint as {u}")} from leg group by account_id
), booked as (
    select a.account_id, sum({EVENT_TOKENS})::bigint as tokens, sum(e.cost_nanos)::bigint as nanos,
           sum(e.calls)::bigint as calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant and e.event_id > :cut group by a.account_id
), expected as (
    select a.account_id,
           {each_unit("coalesce(c.settled_{u}, 0) + coalesce(b.{u}, 0) + coalesce(t.{u}, 0) as booked_{u}")}
    from accounts as a left join booked as b on b.account_id = a.account_id
    left join carried as t on t.account_id = a.account_id
    left join account_checkpoints as c on c.tenant_id = a.tenant_id and c.account_id = a.account_id
    where a.tenant_id = :tenant
)
select a.account_id, a.budget, a.subject, {each_unit("a.settled_{u}, x.booked_{u}")}
from accounts as a join expected as x using (account_id)
where a.tenant_id = :tenant and ({each_unit("a.settled_{u} <> x.booked_{u}", " or ")})
"""

# What was drawn on a hold, by parts of a call or by calls of a lease, is no longer held.
HELD = f"""
with recursive watched as (select account_id, counts from accounts where tenant_id = :tenant),
{places("r.state = 'held'")}, open as (
    select a.account_id, sum(greatest(0, {HELD_TOKENS} - ({DRAWN_TOKENS})))::bigint as tokens,
           sum(greatest(0, r.held_nanos - r.drawn_nanos))::bigint as nanos,
           sum(greatest(0, r.held_calls - r.drawn_calls))::bigint as calls, count(*) filter (where r.lease) as leases
    from placed as p join watched as a using (account_id) join reservations as r using (reservation_id)
    where r.tenant_id = :tenant and p.until is null group by a.account_id
)
select a.account_id, a.budget, a.subject, {each_unit("a.held_{u}, o.{u} as open_{u}")},
       a.leases, o.leases as open_leases
from accounts as a left join open as o using (account_id)
where a.tenant_id = :tenant
  and ({each_unit("a.held_{u} <> coalesce(o.{u}, 0)", " or ")} or a.leases <> coalesce(o.leases, 0))
"""

CLOSED = """
select account_id, budget, subject, window_end, closed_at, held_tokens, held_nanos, held_calls, leases
from accounts where tenant_id = :tenant and closed_at is not null
  and (window_end is null or window_end > closed_at or held_tokens <> 0 or held_nanos <> 0 or held_calls <> 0
       or leases <> 0)
"""

# Replays, in the order of decisions, every account that was ever hard. Limits, and whether the account was hard when
# a hold was granted, come from the journal as it was at that point.
ROOM = f"""
with recursive watched as (
    select a.account_id, a.counts
    from accounts as a join limit_entries as l on l.tenant_id = a.tenant_id and l.account_id = a.account_id
    where a.tenant_id = :tenant group by a.account_id, a.counts having bool_or(l.hard <> 0)
), {MOVEMENTS}, running as (
    select account_id, id, given, {each_unit("sum({u}) over w as {u}")},
           {each_unit(LIMIT.format("over w") + " as limit_{u}")}, sum(hard) over w as denies
    from movement window w as (partition by account_id order by id)
)
select account_id, id as reservation_id, {each_unit("{u}, limit_{u}")} from running
where given and denies > 0 and ({each_unit("{u} > limit_{u}", " or ")})
"""

CHECKS = (
    sql_check("settled amounts equal the sums of the usage events", SETTLED),
    sql_check("held amounts and lease counts are those of the open holds", HELD),
    sql_check("closed accounts are past their window and hold nothing", CLOSED),
    sql_check("every hold fitted the limits when it was granted", ROOM),
)
