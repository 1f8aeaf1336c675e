"""Owns the usage event, the journal of the ledger: one immutable value per call that was made."""

from datetime import datetime, timedelta

from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.charge import OtherUse
from token_ledger.core.model.details import Details, Kind
from token_ledger.core.model.frozen import value
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT

NO_PRICE = 0
"""The price id of an event whose model has no known price."""

OLDEST = timedelta(days=35)
NEWEST = timedelta(minutes=5)
"""How far an event's own time may lie behind and ahead of the booking (the bounds of Stripe's meter events).

Another report of the response of a call is found for as long as `OLDEST` after its booking, because a call can hardly
be reported later than that. So at most three months of the journal are searched, however old the ledger is.
"""


@value
class UsageEvent:
    """What one call used and cost, and the accounts it was booked to.

    `occurred_at` is when the caller says that the call was made; prices, roll-ups and reports go by `posted_at`, which
    is the instant of the reserve for a call with a hold of its own, and lies within the life of the lease for one on a
    lease (then `held_at` is the instant of the lease). The accounts are those of windows with that instant.

    `requested` and `served` are the names of the model as it was asked for and as the settle named it, where they are
    not those of `facts`. `held_path` are the accounts of the hold, where the call was served by another model and so is
    booked on others. `unpriced` says that no price of the model, of one of the kinds in `others` or of its service tier
    was known: the cost of that part is then that of the hold's price, else of what stands in, else 0 (of a whole call,
    `price_id` 0); a service tier without a price costs what the standard one does. Where the tenant has a discount
    (`discount_id`) or a price of its own, `list_cost_nanos` is what the call costs everybody, in the second case by the
    entry `list_price_id`; elsewhere it is the cost. `reservation_id` is None for a call without a
    hold. `part` says that the event did not end its hold: a call of a lease, or a part of a call, which then counts no
    call (`calls` 0). `corrects` is the event that this one takes back, and `recosts` the one that costs
    more or less by this one, which has no calls and no tokens, and of the cost only the difference.
    `repetition` is what was found under the response id, None where nothing was looked for: a call without one, or a
    part of a call. `earlier_event_id` is the event that was found; one that only repeats it (`calls` 0) has no usage of
    its own. `counts_since` marks a call that was imported from another system (see `counts_on`). `kind` is None for the
    call of a model; what is none counts no call, and a tool call that used no model names none. `details` are what was
    measured.
    `source`, `key` and `fingerprint` are those of the request that made it, known only to the batch that books it.
    """

    event_id: int
    reservation_id: int | None
    facts: CallFacts
    usage: Usage
    cost_nanos: int
    price_id: int
    path: list[int]
    occurred_at: datetime
    posted_at: datetime
    overrun: bool = False
    late: bool = False
    estimated: bool = False
    unpriced: bool = False
    clamped: bool = False
    failed: bool = False
    response_id: str | None = None
    original_input_tokens: int | None = None
    calls: int = 1
    part: bool = False
    requested: ModelName | None = None
    served: ModelName | None = None
    held_path: list[int] | None = None
    held_at: datetime | None = None
    corrects: int | None = None
    others: tuple[OtherUse, ...] = ()
    service_tier: str | None = None
    repetition: Repetition | None = None
    earlier_event_id: int | None = None
    kind: Kind | None = None
    details: Details | None = None
    discount_id: int | None = None
    list_price_id: int | None = None
    list_cost_nanos: int | None = None
    counts_since: datetime | None = None
    recosts: int | None = None
    source: str = ""
    key: str = ""
    fingerprint: bytes = b""

    @property
    def listed_nanos(self) -> int:
        """What the call costs everybody."""
        return self.cost_nanos if self.list_cost_nanos is None else self.list_cost_nanos

    @property
    def is_duplicate(self) -> bool:
        """Whether this only says again what another event has said, and so books nothing."""
        return self.repetition is Repetition.DUPLICATE


def representable(claimed_at: datetime) -> datetime:
    """Return what a caller's clock says, moved to the nearest instant that can be stored and shown."""
    return min(max(claimed_at, FIRST_INSTANT), LAST_INSTANT)


def in_time(occurred_at: datetime, now: datetime, counts_since: datetime | None = None) -> bool:
    """Tell whether an event's own time is near enough to the booking to be posted there; an imported call is old."""
    oldest = now - OLDEST if counts_since is None else FIRST_INSTANT
    return oldest <= occurred_at <= now + NEWEST


def counts_on(window_end: datetime | None, counts_since: datetime, now: datetime) -> bool:
    """Tell whether an imported call counts on an account of a window that it lies in.

    Only if the window has ended, so that history takes nothing of today's budgets, but not before `counts_since`: of
    what is no longer kept there are no accounts.
    """
    return window_end is not None and counts_since < window_end <= now
