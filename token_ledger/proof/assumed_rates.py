"""Finds out what could be assumed for other kinds that the price of a call has no rate for, where its lines say so.

That is the entry of its hold, as it was held; what stood in for unknown prices at its instant; and the entry of its
model, where that has no price for tokens. Lines from before rates were assumed name nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from token_ledger.core.batch.commands import OTHER_MODEL, Settle
from token_ledger.core.model.charge import NOTHING_ASSUMED, Assumed, OtherUse
from token_ledger.core.model.details import Kind
from token_ledger.core.model.hold_cost import Announced
from token_ledger.core.model.price import Price
from token_ledger.proof.check import Scope
from token_ledger.storage.json_columns import announced_from

Holds = dict[int, Any]
"""The holds of calls, by their own ids, and by those of the events of other models within the calls."""

_HOLDS = """
select reservation_id as id, price_id, discount_id, announced, created_at from reservations
where tenant_id = :tenant and reservation_id = any(cast(:ids as bigint[]))
"""
_HOLDS_OF_OTHER_MODELS = f"""
select k.target_id as id, r.price_id, r.discount_id, r.announced, r.created_at from operation_keys as k
join usage_events as e on e.tenant_id = :tenant and e.event_id = split_part(k.key, ':', 1)::bigint
join reservations as r on r.tenant_id = :tenant and r.reservation_id = e.reservation_id
where k.tenant_id = :tenant and k.source = '{Settle.verb}@{OTHER_MODEL}' and k.target_id = any(cast(:ids as bigint[]))
"""


async def load_holds(scope: Scope, reservation_ids: Sequence[int], other_model_ids: Sequence[int]) -> Holds:
    """Return holds by their ids, and those of calls by the ids of events of other models; some may be gone."""
    found: Holds = {}
    for statement, ids in ((_HOLDS, reservation_ids), (_HOLDS_OF_OTHER_MODELS, other_model_ids)):
        if ids:
            values = {"tenant": scope.parameters["tenant"], "ids": [*ids]}
            found.update((row.id, row) for row in (await scope.connection.execute(text(statement), values)).all())
    return found


def assumes(lines: Sequence[OtherUse]) -> bool:
    """Tell whether the rate of any line is that of another entry than the call's price."""
    return any(line.assumed_by for line in lines)


def assumed_for(row: Any, lines: Sequence[OtherUse], holds: Holds, scope: Scope) -> Assumed | None:
    """Return what is assumed of a call; None if its lines name an entry that they may not."""
    if not assumes(lines):
        return NOTHING_ASSUMED
    hold = holds.get(row.event_id if row.reservation_id is None else row.reservation_id)
    is_gone = hold is None and (row.reservation_id is not None or row.kind == Kind.OTHER_MODEL)
    entries: list[Price] = []
    if hold is not None:
        said = Announced() if hold.announced is None else announced_from(hold.announced)
        held = scope.price(hold.price_id, hold.discount_id, hold.created_at)
        entries += [_served(held, said.service_tier, hold.created_at)] if held is not None else []
        told = scope.prices.get(said.assumed_by)
        entries += [_served(told, row.service_tier, row.posted_at)] if told is not None else []
    own: Price | None = None
    for price_id, discount_id in dict.fromkeys((line.assumed_by, line.discount_id) for line in lines):
        entry = scope.price(price_id, discount_id, row.posted_at, row.held_at)
        is_of_hold = hold is not None and (price_id, discount_id) == (hold.price_id, hold.discount_id)
        # A call that was held by the piece and used tokens besides: these cost what stands in.
        is_beside_tokens = (
            entry is not None and not entry.has_token_rates
            and scope.stood_in(row.price_id, row.posted_at, row.held_at)
        )  # fmt: skip
        if not price_id or (is_of_hold and not is_beside_tokens):
            continue
        if entry is None:
            return None
        served = _served(entry, row.service_tier, row.posted_at)
        if is_gone or scope.stood_in(price_id, row.posted_at, row.held_at):
            entries.append(served)
        elif not entry.has_token_rates and price_id != row.price_id:
            own = served
        else:
            return None
    is_own_price = any(line.nanos is not None and not line.assumed_by for line in lines)
    is_whole = own is not None or (not is_own_price and any(line.assumed_by == row.price_id for line in lines))
    return Assumed(tuple(entries), is_whole, own)


def _served(price: Price, service_tier: str | None, at: Any) -> Price:
    return price.served_as(service_tier, at) or price
