"""Check: of an imported call that was unfinished at first, only the newest reading counts, and all have one key."""

from token_ledger.core.batch.commands import READING
from token_ledger.core.model.repetition import Repetition
from token_ledger.proof.check import sql_check

_SPACE = f"^{READING}[0-9]+[.:]"
"""What the source of the key of a later reading begins with; the rest is that of the first one."""

# An earlier reading from before the cut is gone. Its key is looked for where the event still is.
READINGS = f"""
with later as (
    select target_id as event_id, source, key from operation_keys
    where tenant_id = :tenant and answer = 'event' and source ~ '{_SPACE}'
), linked as (
    select event_id, (details ->> 'supersedes')::bigint as earlier_id, counts_since, reservation_id, repetition,
           output_tokens
    from usage_events where tenant_id = :tenant and details ? 'supersedes'
), read as (
    select event_id, l.event_id is not null as has_key, source, key, earlier_id, counts_since, reservation_id,
           repetition, output_tokens
    from later as l full join linked as n using (event_id)
)
select n.event_id, n.earlier_id, n.key, e.event_id is not null as exists, e.output_tokens as earlier_output,
       n.output_tokens
from read as n left join usage_events as e on e.tenant_id = :tenant and e.event_id = n.earlier_id
where n.event_id > :cut and (
    not n.has_key or n.earlier_id is null or n.earlier_id >= n.event_id
    or n.counts_since is null or n.reservation_id is not null
    or (e.event_id is null and n.earlier_id > :cut)
    or (e.event_id is not null and (
        e.counts_since is null
        or (e.output_tokens > n.output_tokens and n.repetition is distinct from '{Repetition.DUPLICATE}')
        or not exists (select from usage_events as c where c.tenant_id = :tenant and c.corrects = e.event_id)
        or not exists (
            select from operation_keys as k
            where k.tenant_id = :tenant and k.target_id = e.event_id and k.answer = 'event' and k.key = n.key
              and regexp_replace(k.source, '{_SPACE}', '') = regexp_replace(n.source, '{_SPACE}', '')
        )
    ))
)
"""

CHECKS = (
    sql_check("of a call that was imported unfinished, only the newest reading counts, under the key of all", READINGS),
)
