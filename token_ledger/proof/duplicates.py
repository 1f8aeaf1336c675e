"""Checks: a response of a provider is booked once, and a duplicate has nothing booked."""

from token_ledger.core.model.event import OLDEST
from token_ledger.core.model.repetition import NOT_COMPARED, Repetition
from token_ledger.core.model.usage import KINDS
from token_ledger.proof.check import sql_check
from token_ledger.storage.schema.ledger_tables import KNOWN_BY_ID

_OTHERS = (
    f"select jsonb_object_agg(o.key, o.value -> 0) from jsonb_each({{0}}.others) as o where o.key <> '{NOT_COMPARED}'"
)
_USAGE = ", ".join("{0}." + kind for kind in KINDS) + f", ({_OTHERS})"
_SAME_USAGE = f"({_USAGE.format('f')}) is not distinct from ({_USAGE.format('e')})"
_TAKEN_BACK = "exists (select from usage_events as c where c.tenant_id = :tenant and c.corrects = {0}.event_id)"

# Hours, because a day of a time zone may have another length.
BOOKED_TWICE = f"""
select e.event_id, f.event_id as earlier_event_id, e.response_id
from usage_events as e join usage_events as f on f.tenant_id = e.tenant_id and f.response_id = e.response_id
    and f.event_id < e.event_id and f.booked_at >= e.booked_at - interval '{OLDEST.days * 24} hours'
    and f.provider = e.provider and f.model = e.model and {_SAME_USAGE}
where e.tenant_id = :tenant and e.event_id > :cut
  and e.repetition in ({KNOWN_BY_ID}) and f.repetition in ({KNOWN_BY_ID})
  and not {_TAKEN_BACK.format("e")} and not {_TAKEN_BACK.format("f")}
"""

# A call from before the cut may have been found, and is gone then.
FOUND = f"""
select e.event_id, e.repetition, e.response_id, e.earlier_event_id, f.event_id is not null as exists, e.calls,
       e.cost_nanos, f.response_id as earlier_response_id
from usage_events as e
left join usage_events as f on f.tenant_id = e.tenant_id and f.event_id = e.earlier_event_id
where e.tenant_id = :tenant and e.event_id > :cut and (
    (e.repetition is not null and e.response_id is null)
    or (e.earlier_event_id is not null) is distinct from coalesce(e.repetition in (
        '{Repetition.DUPLICATE}', '{Repetition.REPLACES}', '{Repetition.OTHER_USAGE}'
    ), false)
    or (e.repetition = '{Repetition.DUPLICATE}' and (
        e.calls <> 0 or e.cost_nanos <> 0 or e.others is not null or {" or ".join(f"e.{kind} <> 0" for kind in KINDS)}
    ))
    or (f.event_id is null and e.earlier_event_id > :cut)
    or (f.event_id is not null and (
        f.event_id >= e.event_id or f.response_id is distinct from e.response_id
        or coalesce(f.repetition not in ({KNOWN_BY_ID}), true)
        or (e.repetition = '{Repetition.OTHER_USAGE}' and {_SAME_USAGE})
        or (e.repetition = '{Repetition.REPLACES}' and (
            e.reservation_id is null or f.reservation_id is not null or not {_TAKEN_BACK.format("f")}
            or not ({_SAME_USAGE})
        ))
    ))
)
"""

CHECKS = (
    sql_check("no response of a provider is booked twice with the same model and usage", BOOKED_TWICE),
    sql_check("duplicates have nothing booked, and name the call that is", FOUND),
)
