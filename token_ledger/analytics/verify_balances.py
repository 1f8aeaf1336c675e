"""Checks of verify: balances follow from the events and the holds, and every hold had room when it was given.

What lies at or before `:cut` is added up in checkpoints (see `storage.tables.checkpoints`); only later events count.
"""

UNITS = ("tokens", "nanos", "calls")


def each_unit(template: str, joint: str = ", ") -> str:
    """Return a piece of SQL once for every unit of an account, `{u}` standing for its name."""
    return joint.join(template.format(u=unit) for unit in UNITS)


COUNTED = "case a.counts when 'all' then {all} else {uncached} end"
EVENT_TOKENS = COUNTED.format(
    all="e.input_tokens + e.output_tokens", uncached="e.input_tokens - e.cache_read_tokens + e.output_tokens"
)
HELD_TOKENS = COUNTED.format(all="r.held_tokens", uncached="r.held_uncached_tokens")
DRAWN_TOKENS = COUNTED.format(all="r.drawn_tokens", uncached="r.drawn_uncached_tokens")

SETTLED = f"""
with booked as (
    select a.account_id, sum({EVENT_TOKENS})::bigint as tokens, sum(e.cost_nanos)::bigint as nanos,
           sum(e.calls)::bigint as calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id)
    join accounts as a on a.tenant_id = e.tenant_id and a.account_id = p.account_id
    where e.tenant_id = :tenant and e.event_id > :cut group by a.account_id
), expected as (
    select a.account_id,
           {each_unit("coalesce(c.settled_{u}, 0) + coalesce(b.{u}, 0) as booked_{u}")}
    from accounts as a left join booked as b on b.account_id = a.account_id
    left join account_checkpoints as c on c.tenant_id = a.tenant_id and c.account_id = a.account_id
    where a.tenant_id = :tenant
)
select a.account_id, a.budget, a.subject, {each_unit("a.settled_{u}, x.booked_{u}")}
from accounts as a join expected as x using (account_id)
where a.tenant_id = :tenant and ({each_unit("a.settled_{u} <> x.booked_{u}", " or ")})
"""

# What parts of a call, or calls of a lease, have drawn is no longer held.
HELD = f"""
with open as (
    select a.account_id, sum(greatest(0, {HELD_TOKENS} - ({DRAWN_TOKENS})))::bigint as tokens,
           sum(greatest(0, r.held_nanos - r.drawn_nanos))::bigint as nanos,
           sum(greatest(0, r.held_calls - r.drawn_calls))::bigint as calls, count(*) filter (where r.lease) as leases
    from reservations as r cross join lateral unnest(r.path) as p (account_id)
    join accounts as a on a.tenant_id = r.tenant_id and a.account_id = p.account_id
    where r.tenant_id = :tenant and r.state = 'held' group by a.account_id
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

# Every movement, in the order of decisions, of every account that ever denied; a hold must have had room when it was
# given. What a hold still sets aside is what it was given less what was drawn on it: at a draw the account settles
# the actual and frees what the draw takes of the hold, at the end it frees the rest. The rest is counted from the
# back (what was drawn in all, less what was drawn later), because earlier draws may lie before the cut. Limits, and
# whether the account denies, are those of the journal at that place.
ROOM = f"""
with hard as (
    select a.account_id, a.counts,
           (a.enforcement = 'hard')::integer - coalesce(sum(l.hard) filter (where l.kind <> 'opening'), 0) as at_first
    from accounts as a left join limit_entries as l on l.tenant_id = a.tenant_id and l.account_id = a.account_id
    where a.tenant_id = :tenant group by a.account_id, a.counts, a.enforcement
    having a.enforcement = 'hard' or bool_or(l.hard <> 0)
), holding as (
    select a.account_id, r.reservation_id, r.ended_id,
           {HELD_TOKENS} as held_tokens, r.held_nanos, r.held_calls,
           {DRAWN_TOKENS} as drawn_tokens, r.drawn_nanos, r.drawn_calls
    from reservations as r cross join lateral unnest(r.path) as p (account_id) join hard as a using (account_id)
    where r.tenant_id = :tenant and (r.ended_id is null or r.ended_id > :cut)
), booked as (
    select a.account_id, e.event_id, e.reservation_id, e.part,
           {EVENT_TOKENS} as tokens, e.cost_nanos as nanos, e.calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id) join hard as a using (account_id)
    where e.tenant_id = :tenant and e.event_id > :cut
), drawing as (
    select h.*, b.event_id, {each_unit("b.{u}")}, {each_unit("sum(b.{u}) over w as later_{u}")}
    from booked as b join holding as h using (account_id, reservation_id) where b.part
    window w as (partition by h.account_id, h.reservation_id order by b.event_id desc)
), drawn as (
    select account_id, reservation_id,
           {each_unit("sum({u}) as in_all_{u}, sum({u}) filter (where event_id > ended_id) as late_{u}")}
    from drawing group by account_id, reservation_id
), hold as (
    select h.*, {each_unit("coalesce(d.in_all_{u}, 0) as in_all_{u}, coalesce(d.late_{u}, 0) as late_{u}")}
    from holding as h left join drawn as d using (account_id, reservation_id)
), movement (account_id, id, given, {each_unit("{u}")}, {each_unit("limit_{u}")}, hard) as (
    select c.account_id, cast(:cut as bigint), false, {each_unit("c.settled_{u}")}, {each_unit("null::bigint")}, 0
    from account_checkpoints as c where c.tenant_id = :tenant
    union all
    select account_id, reservation_id, true, {each_unit("held_{u}")}, null, null, null, 0
    from hold where reservation_id > :cut
    union all
    select account_id, cast(:cut as bigint), false,
           {each_unit("held_{u} - least(held_{u}, drawn_{u} - in_all_{u})")}, null, null, null, 0
    from hold where reservation_id <= :cut
    union all
    select account_id, event_id, false, {each_unit("{u}")}, null, null, null, 0 from booked
    union all
    select account_id, event_id, false,
           {each_unit("least(held_{u}, drawn_{u} - later_{u}) - least(held_{u}, drawn_{u} - later_{u} + {u})")},
           null, null, null, 0
    from drawing where ended_id is null or event_id < ended_id
    union all
    select account_id, ended_id, false, {each_unit("least(held_{u}, drawn_{u} - late_{u}) - held_{u}")},
           null, null, null, 0
    from hold where ended_id is not null
    union all
    select account_id, entry_id, false, 0, 0, 0, tokens, nanos, calls, case kind when 'opening' then 0 else hard end
    from limit_entries where tenant_id = :tenant
), running as (
    select m.account_id, m.id, m.given, {each_unit("sum(m.{u}) over w as {u}")},
           {each_unit("sum(m.limit_{u}) over w as limit_{u}")}, a.at_first + sum(m.hard) over w as denies
    from movement as m join hard as a using (account_id)
    window w as (partition by m.account_id order by m.id)
)
select account_id, id as reservation_id, {each_unit("{u}, limit_{u}")} from running
where given and denies > 0 and ({each_unit("{u} > limit_{u}", " or ")})
"""

CHECKS = {
    "settled amounts are the sums of the events": SETTLED,
    "held amounts and leases are those of the open holds": HELD,
    "closed accounts have ended and hold nothing": CLOSED,
    "every hold had room when it was given": ROOM,
}
