"""Check: only what takes something back costs less than nothing, and what bills took off says of which bill it is."""

from token_ledger.core.model.bills import ADJUSTS, BILL_TAG
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import NO_PRICE
from token_ledger.core.model.usage import KINDS
from token_ledger.proof.check import sql_check

# A part of a call, the last one included, may correct what the parts before it cost.
NEGATIVE = f"""
select event_id, agent_type, kind, cost_nanos, calls from usage_events
where tenant_id = :tenant and event_id > :cut and corrects is null and recosts is null and reservation_id is null
  and cost_nanos < 0 and not (
      kind is not distinct from '{Kind.TOOL_CALL}' and agent_type = '{ADJUSTS}'
      and tool is not distinct from '{ADJUSTS}' and coalesce(tags ->> '{BILL_TAG}', '') <> ''
      and counts_since is not null and calls = 0 and price_id = {NO_PRICE} and not unpriced
      and {" and ".join(f"{kind} = 0" for kind in KINDS)} and others is null
  )
"""

CHECKS = (sql_check("only corrections, parts of calls and what bills took off cost less than nothing", NEGATIVE),)
