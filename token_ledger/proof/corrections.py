"""Checks: a correction takes back exactly what it corrects, once; it and every re-costing is in the audit log."""

from sqlalchemy import text

from token_ledger.core.model.details import Kind
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.transfer import place_of
from token_ledger.core.model.usage import KINDS
from token_ledger.proof.check import Check, Row, Scope, sql_check
from token_ledger.proof.transfers import load_transfers
from token_ledger.storage.schema.columns import FACTS

_AMOUNTS = ("calls", *KINDS, "cost_nanos")
_OPPOSITE_OTHERS = """
select jsonb_object_agg(o.key, jsonb_build_array(-(o.value ->> 0)::bigint, -(o.value ->> 1)::bigint)
    || case when jsonb_array_length(o.value) > 2
            then jsonb_build_array(-(o.value ->> 2)::bigint) || (o.value - 0 - 0 - 0) else '[]' end)
from jsonb_each(e.others) as o
"""
# While a user is being erased, one of the two may have the name and the other the pseudonym.
_SAME = (
    *(name for name in FACTS if name != "user_id"), "occurred_at", "posted_at", "held_at", "price_id",
    "unpriced", "service_tier", "kind", "discount_id", "list_price_id", "recosts",
    "counts_since",
)  # fmt: skip

_SAVED = "({0}.details #>> '{{saved,nanos}}')::numeric"

# What a correction from after the cut corrects may lie before it, and is gone then.
CORRECTIONS = f"""
with corrections as (
    select c.*, count(*) over (partition by c.corrects) as times
    from usage_events as c where c.tenant_id = :tenant and c.corrects is not null
)
select c.event_id, c.corrects, e.event_id is not null as exists, c.times, c.calls, c.cost_nanos,
       e.calls as corrected_calls, e.cost_nanos as corrected_nanos
from corrections as c left join usage_events as e on e.tenant_id = c.tenant_id and e.event_id = c.corrects
left join erasures as mine on mine.tenant_id = :tenant and mine.user_id = c.user_id
left join erasures as its on its.tenant_id = :tenant and its.user_id = e.user_id
where c.event_id > :cut and (
    c.times > 1 or c.corrects >= c.event_id or c.reservation_id is not null or c.part
    or (e.event_id is null and c.corrects > :cut)
    or (e.event_id is not null and (
        e.corrects is not null
        or ({", ".join(f"c.{name}" for name in _AMOUNTS)}) <> ({", ".join(f"-e.{name}" for name in _AMOUNTS)})
        or ({", ".join(f"c.{name}" for name in _SAME)}) is distinct from ({", ".join(f"e.{name}" for name in _SAME)})
        or c.others is distinct from ({_OPPOSITE_OTHERS})
        or {_SAVED.format("c")} is distinct from -{_SAVED.format("e")}
        or c.list_cost_nanos is distinct from -e.list_cost_nanos
        or coalesce(mine.pseudonym, c.user_id) <> coalesce(its.pseudonym, e.user_id)
    ))
)
"""

_KEPT = tuple(name for name in _SAME if name not in ("price_id", "unpriced", "discount_id", "list_price_id", "recosts"))

# What is taken back is taken back with what was re-costed of it, and is not re-costed any more. What a cache hit, a
# duplicate or a tool whose cost was stated costs follows from no price.
RECOSTINGS = f"""
select r.event_id, r.recosts, e.event_id is not null as exists, e.unpriced, c.event_id as corrected_by
from usage_events as r left join usage_events as e on e.tenant_id = r.tenant_id and e.event_id = r.recosts
left join usage_events as c on c.tenant_id = r.tenant_id and c.corrects = r.recosts
left join erasures as mine on mine.tenant_id = :tenant and mine.user_id = r.user_id
left join erasures as its on its.tenant_id = :tenant and its.user_id = e.user_id
where r.tenant_id = :tenant and r.event_id > :cut and r.recosts is not null and r.corrects is null and (
    r.recosts >= r.event_id or r.reservation_id is not null or r.part or r.calls <> 0 or r.unpriced
    or {" or ".join(f"r.{kind} <> 0" for kind in KINDS)}
    or (e.event_id is null and r.recosts > :cut)
    or (e.event_id is not null and (
        e.corrects is not null or e.recosts is not null or (e.price_id = 0 and not e.unpriced)
        or e.kind is not distinct from '{Kind.CACHE_HIT}' or e.repetition is not distinct from '{Repetition.DUPLICATE}'
        or ({", ".join(f"r.{name}" for name in _KEPT)}) is distinct from ({", ".join(f"e.{name}" for name in _KEPT)})
        or coalesce(mine.pseudonym, r.user_id) <> coalesce(its.pseudonym, e.user_id)
    ))
    or c.event_id < r.event_id
    or (c.event_id is not null and not exists (
        select from usage_events as d where d.tenant_id = :tenant and d.corrects = r.event_id
    ))
)
"""

_RECOSTED_BY = "(select r.recosts from usage_events as r where r.tenant_id = :tenant and r.event_id = {0})"

# The settle of a hold replaces a call that was reported without one, and takes it back by itself. So does a later
# import of a call that was unfinished before.
LOGGED = f"""
with superseded as (
    select (details ->> 'supersedes')::bigint as event_id from usage_events
    where tenant_id = :tenant and details ? 'supersedes'
), logged as (
    select l.audit_id, each.key::bigint as event_id, each.value::bigint as corrects
    from audit_log as l cross join lateral jsonb_each_text(l.after -> 'corrections') as each
    where l.tenant_id = :tenant and l.action = 'calls.reverse'
), made as (select event_id, corrects from usage_events where tenant_id = :tenant and corrects is not null)
select coalesce(m.event_id, l.event_id) as event_id, l.audit_id, m.corrects, l.corrects as logged_corrects
from made as m full join logged as l using (event_id)
where coalesce(m.event_id, l.event_id) > :cut and m.corrects is distinct from l.corrects
  and not (l.event_id is null and (
      m.corrects in (select event_id from superseded)
      or coalesce({_RECOSTED_BY.format("m.corrects")}, 0) in (select event_id from superseded)
      or exists (
          select from usage_events as e
          where e.tenant_id = :tenant and e.repetition = '{Repetition.REPLACES}'
            and e.earlier_event_id in (m.corrects, {_RECOSTED_BY.format("m.corrects")})
      )
  ))
"""

RECOSTINGS_LOGGED = """
with logged as (
    select l.audit_id, each.key::bigint as event_id, each.value::bigint as recosts
    from audit_log as l cross join lateral jsonb_each_text(l.after -> 'recostings') as each
    where l.tenant_id = :tenant and l.action = 'calls.recost'
), made as (
    select event_id, recosts from usage_events
    where tenant_id = :tenant and recosts is not null and corrects is null
)
select coalesce(m.event_id, l.event_id) as event_id, l.audit_id, m.recosts, l.recosts as logged_recosts
from made as m full join logged as l using (event_id)
where coalesce(m.event_id, l.event_id) > :cut and m.recosts is distinct from l.recosts
"""

_PATHS = """
select c.event_id, coalesce(c.corrects, c.recosts) as corrects, c.path, e.path as corrected_path
from usage_events as c
join usage_events as e on e.tenant_id = c.tenant_id and e.event_id = coalesce(c.corrects, c.recosts)
where c.tenant_id = :tenant and c.event_id > :cut
"""


async def _find_wrong_paths(scope: Scope) -> list[Row]:
    """Return corrections that are not on the accounts that had what they correct."""
    transfers = await load_transfers(scope)
    wrong: list[Row] = []
    async with scope.connection.stream(text(_PATHS), scope.parameters) as rows:
        async for row in rows.mappings():
            since, until = row["corrects"], row["event_id"]
            expected = [place_of(each, since, transfers, until) for each in row["corrected_path"]]
            if row["path"] != expected:
                wrong.append({**row, "expected": expected})
            if len(wrong) == scope.most_rows:
                break
    return wrong


CHECKS = (
    sql_check("corrections take back exactly what they correct, once", CORRECTIONS),
    sql_check("every correction is in the audit log, or made by what takes the place of a call", LOGGED),
    sql_check("re-costings are of calls whose cost follows from a price, and are taken back with them", RECOSTINGS),
    sql_check("every re-costing is in the audit log", RECOSTINGS_LOGGED),
    Check("corrections are on the accounts that had what they correct", _find_wrong_paths),
)
