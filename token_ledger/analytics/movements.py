"""Owns the movements of accounts: what each hold, draw, event and end did to what was settled and held, in order.

`MOVEMENTS` is part of a query: after a `watched (account_id, counts)` it gives `movement`, with a row for every change
of these accounts, which add up to what they stood at after any of them. What lies at or before `:cut` is one row.
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

# What a hold still sets aside is what it was given less what was drawn on it: at a draw the account settles the actual
# and frees what the draw takes of the hold, at the end it frees the rest. The rest is counted from the back (what was
# drawn in all, less what was drawn later), because earlier draws may lie before the cut. `by_time` are ends that a
# batch begins with: those of holds that expired, and of those that were forced to, which can't be told from them here.
MOVEMENTS = f"""
holding as (
    select a.account_id, r.reservation_id, r.created_at, r.ended_id, r.ended_at,
           r.state <> 'released' and r.ended_id is distinct from r.event_id as by_time,
           {HELD_TOKENS} as held_tokens, r.held_nanos, r.held_calls,
           {DRAWN_TOKENS} as drawn_tokens, r.drawn_nanos, r.drawn_calls
    from reservations as r cross join lateral unnest(r.path) as p (account_id) join watched as a using (account_id)
    where r.tenant_id = :tenant and (r.ended_id is null or r.ended_id > :cut)
), booked as (
    select a.account_id, e.event_id, e.booked_at, e.reservation_id, e.part,
           {EVENT_TOKENS} as tokens, e.cost_nanos as nanos, e.calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id) join watched as a using (account_id)
    where e.tenant_id = :tenant and e.event_id > :cut
), drawing as (
    select h.*, b.event_id, b.booked_at, {each_unit("b.{u}")}, {each_unit("sum(b.{u}) over w as later_{u}")}
    from booked as b join holding as h using (account_id, reservation_id) where b.part
    window w as (partition by h.account_id, h.reservation_id order by b.event_id desc)
), drawn as (
    select account_id, reservation_id,
           {each_unit("sum({u}) as in_all_{u}, sum({u}) filter (where event_id > ended_id) as late_{u}")}
    from drawing group by account_id, reservation_id
), hold as (
    select h.*, {each_unit("coalesce(d.in_all_{u}, 0) as in_all_{u}, coalesce(d.late_{u}, 0) as late_{u}")}
    from holding as h left join drawn as d using (account_id, reservation_id)
), movement (account_id, id, at, given, by_time, {each_unit("{u}")}, {each_unit("limit_{u}")}, hard) as (
    select c.account_id, cast(:cut as bigint), cast(:cut_at as timestamptz), false, false,
           {each_unit("c.settled_{u}")}, {each_unit("null::bigint")}, 0
    from account_checkpoints as c join watched using (account_id) where c.tenant_id = :tenant
    union all
    select account_id, reservation_id, created_at, true, false, {each_unit("held_{u}")}, null, null, null, 0
    from hold where reservation_id > :cut
    union all
    select account_id, cast(:cut as bigint), cast(:cut_at as timestamptz), false, false,
           {each_unit("held_{u} - least(held_{u}, drawn_{u} - in_all_{u})")}, null, null, null, 0
    from hold where reservation_id <= :cut
    union all
    select account_id, event_id, booked_at, false, false, {each_unit("{u}")}, null, null, null, 0 from booked
    union all
    select account_id, event_id, booked_at, false, false,
           {each_unit("least(held_{u}, drawn_{u} - later_{u}) - least(held_{u}, drawn_{u} - later_{u} + {u})")},
           null, null, null, 0
    from drawing where ended_id is null or event_id < ended_id
    union all
    select account_id, ended_id, ended_at, false, by_time,
           {each_unit("least(held_{u}, drawn_{u} - late_{u}) - held_{u}")}, null, null, null, 0
    from hold where ended_id is not null
    union all
    select account_id, entry_id, booked_at, false, false, 0, 0, 0, tokens, nanos, calls, hard
    from limit_entries join watched using (account_id) where tenant_id = :tenant
)
"""
