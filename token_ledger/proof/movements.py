"""Owns the movements of accounts: each change of what was used (settled and held) and of the limit, in order.

`MOVEMENTS` is a list of common table expressions. Put it after `with recursive` and one named `watched (account_id,
counts)`; it defines `movement`, with a row for every change of those accounts. The running sum of an account's rows is
its state after each change. Everything up to `:cut` is one row per account and per hold.
"""

from token_ledger.proof.check import each_unit

COUNTED = "case a.counts when 'all' then {all} else {uncached} end"
EVENT_TOKENS = COUNTED.format(
    all="e.input_tokens + e.output_tokens", uncached="e.input_tokens - e.cache_read_tokens + e.output_tokens"
)

# An entry that opens an account gives it a limit in every unit in which it has an amount. It says so itself only since
# limits can be taken away.
BOUND = "case when kind = 'opening' then ({u} is not null)::integer else bound_{u} end"

# The limit at one point of the journal: there is one while more entries have given than taken it.
LIMIT = "case when sum(bound_{{u}}) {0} > 0 then sum(limit_{{u}}) {0} end::bigint"

HELD_TOKENS = COUNTED.format(all="r.held_tokens", uncached="r.held_uncached_tokens")
DRAWN_TOKENS = COUNTED.format(all="r.drawn_tokens", uncached="r.drawn_uncached_tokens")


def places(holds: str) -> str:
    """Return common table expressions that define `placed`: from and to which id a hold was on which watched account.

    A hold is on the accounts of its path until these are transferred. `holds` is a condition on reservations `r`.
    """
    named = f"""
        select p.account_id, r.reservation_id, r.reservation_id as since
        from reservations as r cross join lateral unnest(r.path) as p (account_id)
        where r.tenant_id = :tenant and ({holds})
    """
    return f"""
gone as (select distinct from_account as account_id from transfers where tenant_id = :tenant),
place as (
    select n.* from ({named}) as n join gone using (account_id)
    union all
    select t.to_account, p.reservation_id, t.transfer_id
    from place as p cross join lateral (
        select * from transfers as t
        where t.tenant_id = :tenant and t.from_account = p.account_id and t.transfer_id > p.since
        order by t.transfer_id limit 1
    ) as t
), placed as (
    select n.*, null::bigint as until from ({named}) as n join watched using (account_id)
    where n.account_id not in (select account_id from gone)
    union all
    select p.*, (
        select min(t.transfer_id) from transfers as t
        where t.tenant_id = :tenant and t.from_account = p.account_id and t.transfer_id > p.since
    ) from place as p join watched using (account_id)
)
"""


LEGS = """
leg as (
    select l.account_id, l.sign, t.* from transfers as t
    cross join lateral (values (t.from_account, -1), (t.to_account, 1)) as l (account_id, sign)
    where t.tenant_id = :tenant
)
"""
"""Both sides of every transfer."""

# A hold still sets aside what it was granted less what was drawn on it: a draw settles what was used and frees that
# much of the hold, the end frees the rest. What had been drawn before a draw is computed backwards (all draws less
# this and the later ones), because earlier draws may lie before the cut. `by_time` marks ends that come first in a
# batch: those of expired holds, and of force-released ones, which look the same here. A part that was served by another
# model is booked on other accounts, and frees its hold on these. A transfer takes along what was settled and is held.
MOVEMENTS = f"""
{places("r.ended_id is null or r.ended_id > :cut")}, {LEGS}, holding as (
    select a.account_id, r.reservation_id, h.since, h.until, r.created_at, r.ended_id, r.ended_at,
           r.state <> 'released' and r.ended_id is distinct from r.event_id as by_time,
           {HELD_TOKENS} as held_tokens, r.held_nanos, r.held_calls,
           {DRAWN_TOKENS} as drawn_tokens, r.drawn_nanos, r.drawn_calls
    from placed as h join watched as a using (account_id) join reservations as r using (reservation_id)
    where r.tenant_id = :tenant
), booked as (
    select a.account_id, e.event_id, e.booked_at, {EVENT_TOKENS} as tokens, e.cost_nanos as nanos, e.calls
    from usage_events as e cross join lateral unnest(e.path) as p (account_id) join watched as a using (account_id)
    where e.tenant_id = :tenant and e.event_id > :cut
), part as (
    select h.account_id, h.reservation_id, h.since, e.event_id, e.booked_at,
           {EVENT_TOKENS} as tokens, e.cost_nanos as nanos, e.calls
    from usage_events as e join holding as h using (reservation_id) join watched as a using (account_id)
    where e.tenant_id = :tenant and e.event_id > :cut and e.part
), drawing as (
    select h.*, p.event_id, p.booked_at, {each_unit("p.{u}")}, {each_unit("sum(p.{u}) over w as later_{u}")}
    from part as p join holding as h using (account_id, reservation_id, since)
    window w as (partition by h.account_id, h.reservation_id, h.since order by p.event_id desc)
), drawn as (
    select account_id, reservation_id, since,
           {each_unit("sum({u}) as in_all_{u}, sum({u}) filter (where event_id > ended_id) as late_{u}")}
    from drawing group by account_id, reservation_id, since
), hold as (
    select h.*, {each_unit("coalesce(d.in_all_{u}, 0) as in_all_{u}, coalesce(d.late_{u}, 0) as late_{u}")}
    from holding as h left join drawn as d using (account_id, reservation_id, since)
), movement as (
    select c.account_id, cast(:cut as bigint) as id, cast(:cut_at as timestamptz) as at, false as given,
           false as by_time, {each_unit("c.settled_{u} as {u}")}, {each_unit("null::bigint as limit_{u}")}, 0 as hard,
           {each_unit("0 as bound_{u}")}
    from account_checkpoints as c join watched using (account_id) where c.tenant_id = :tenant
    union all
    select account_id, cast(:cut as bigint), cast(:cut_at as timestamptz), false, false,
           {each_unit("sign * settled_{u}")}, null, null, null, 0, 0, 0, 0
    from leg join watched using (account_id) where transfer_id <= :cut
    union all
    select account_id, reservation_id, created_at, true, false, {each_unit("held_{u}")}, null, null, null, 0, 0, 0, 0
    from hold where reservation_id > :cut and since = reservation_id
    union all
    select account_id, cast(:cut as bigint), cast(:cut_at as timestamptz), false, false,
           {each_unit("held_{u} - least(held_{u}, drawn_{u} - in_all_{u})")}, null, null, null, 0,
           0, 0, 0
    from hold where since <= :cut and (until is null or until > :cut)
    union all
    select account_id, event_id, booked_at, false, false, {each_unit("{u}")}, null, null, null, 0, 0, 0, 0 from booked
    union all
    select account_id, event_id, booked_at, false, false,
           {each_unit("least(held_{u}, drawn_{u} - later_{u}) - least(held_{u}, drawn_{u} - later_{u} + {u})")},
           null, null, null, 0, 0, 0, 0
    from drawing where (ended_id is null or event_id < ended_id)
      and event_id > since and (until is null or event_id < until)
    union all
    select account_id, ended_id, ended_at, false, by_time,
           {each_unit("least(held_{u}, drawn_{u} - late_{u}) - held_{u}")}, null, null, null, 0,
           0, 0, 0
    from hold where ended_id > since and (until is null or ended_id < until)
    union all
    select account_id, transfer_id, booked_at, false, false, {each_unit("sign * (settled_{u} + held_{u})")},
           null, null, null, 0, 0, 0, 0
    from leg join watched using (account_id) where transfer_id > :cut
    union all
    select account_id, entry_id, booked_at, false, false, 0, 0, 0, tokens, nanos, calls, hard,
           {each_unit(BOUND)}
    from limit_entries join watched using (account_id) where tenant_id = :tenant
)
"""
