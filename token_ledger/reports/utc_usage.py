"""Report: what calls used and cost in every half hour of UTC, as a bill of a provider can be compared with.

Roll-ups are kept by the tenant's hours and days and know no service tiers and no tags, so usage events are read.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from token_ledger.core.model.usage import Usage

STEP: Final = timedelta(minutes=30)
"""How long the rows are: clocks of time zones differ from UTC by whole half hours, but for three zones."""


@dataclass(frozen=True, slots=True)
class UtcUsage:
    """What calls that are alike used and cost from `begin` on, for half an hour.

    `project` is None where calls say none or none was asked for. `service_tier` is None for the standard one. Of calls
    that are `unpriced` a part has no price until now. `unit_nanos` is what of the cost is for what is counted by the
    piece, such as web searches. With `is_adjustment` the rows are those that reconciliations booked before, for a model
    or for an `item` that is none. `corrections` are the events that take back or re-cost another one.
    """

    begin: datetime
    provider: str
    model: str
    project: str | None
    service_tier: str | None
    price_id: int
    discount_id: int | None
    unpriced: bool
    is_adjustment: bool
    events: int
    corrections: int
    usage: Usage
    nanos: int
    list_nanos: int
    unit_nanos: int
    item: str = ""
