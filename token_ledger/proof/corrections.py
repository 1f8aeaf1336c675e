"""Checks: a correction takes back exactly what it corrects, once, and is in the audit log."""

from sqlalchemy import text

from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.transfer import place_of
from token_ledger.core.model.usage import KINDS
from token_ledger.proof.check import Check, Row, Scope, sql_check
from token_ledger.proof.transfers import load_transfers
from token_ledger.storage.schema.columns import FACTS

_AMOUNTS = ("calls", *KINDS, "cost_nanos")
_OPPOSITE_OTHERS = """
select jsonb_object_agg(o.key, jsonb_build_array(-(o.value ->> 0)::bigint, -(o.value ->> 1)::bigint))
from jsonb_each(e.others) as o
"""
# While a user is being erased, one of the two may have the name and the other the pseudonym.
_SAME = (
    *(name for name in FACTS if name != "user_id"), "occurred_at", "posted_at", "held_at", "price_id",
    "unpriced", "service_tier", "kind", "discount_id", "list_price_id",
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

# The settle of a hold replaces a call that was reported without one, and takes it back by itself.
LOGGED = f"""
with logged as (
    select l.audit_id, each.key::bigint as event_id, each.value::bigint as corrects
    from audit_log as l cross join lateral jsonb_each_text(l.after -> 'corrections') as each
    where l.tenant_id = :tenant and l.action = 'calls.reverse'
), made as (select event_id, corrects from usage_events where tenant_id = :tenant and corrects is not null)
select coalesce(m.event_id, l.event_id) as event_id, l.audit_id, m.corrects, l.corrects as logged_corrects
from made as m full join logged as l using (event_id)
where coalesce(m.event_id, l.event_id) > :cut and m.corrects is distinct from l.corrects
  and not (l.event_id is null and exists (
      select from usage_events as e
      where e.tenant_id = :tenant and e.repetition = '{Repetition.REPLACES}' and e.earlier_event_id = m.corrects
  ))
"""

_PATHS = """
select c.event_id, c.corrects, c.path, e.path as corrected_path from usage_events as c
join usage_events as e on e.tenant_id = c.tenant_id and e.event_id = c.corrects
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
    sql_check("every correction is in the audit log, or made by the settle that replaces a call", LOGGED),
    Check("corrections are on the accounts that had what they correct", _find_wrong_paths),
)
