"""Writes what every batch writes: balances, holds, and events with their keys.

A hold and an event are written together with the key that made them, and an event that settles ends its hold in the
same statement. For the rows that are sent see `schema.batch_rows`, for `returning 1` see `write.statements`.
"""

from collections.abc import Sequence
from datetime import datetime

from token_ledger.core.batch.commands import Reserve
from token_ledger.core.model.repetition import Repetition
from token_ledger.storage.rows import ACCOUNT, BALANCES, EVENT, RESERVATION
from token_ledger.storage.schema.batch_rows import BatchRow, Places, array_text
from token_ledger.storage.schema.ledger_tables import operation_keys, reservations
from token_ledger.storage.write.statements import Decided, Rows, Write, makes, update_columns

Total = tuple[int, int]
"""Tokens and nano-dollars of all events of a tenant."""

_KEY = "tenant_id, source, key, fingerprint, answer, target_id, booked_at"

_balance = ACCOUNT.only("account_id", "budget_id", "subject", "window_start", *BALANCES)
ACCOUNT_BALANCE_ROW = BatchRow("account_balance_row", _balance.columns)
balance_row = _balance.writer("lock, value", first=["lock"])

# What the ledgers of the tenants and their accounts stand at after the batch. Both keys of an account are named, so
# that either index finds it with one probe.
_UPDATE_LEDGERS = """
    update tenant_ledgers as l
    set sequence = l.sequence + 1, booked_at = b.now, booked_tokens = b.tokens, booked_nanos = b.nanos,
        batch_stamp = $6::bigint
    from unnest($2::text::bigint[], $3::timestamptz[], $4::text::bigint[], $5::text::bigint[])
         as b (tenant_id, now, tokens, nanos)
    where l.tenant_id = b.tenant_id
"""
_UPDATE_ACCOUNTS = f"""
update accounts as a set {", ".join(f"{name} = v.{name}" for name in BALANCES)}
from {ACCOUNT_BALANCE_ROW.unpacked()} as v
where a.tenant_id = v.tenant_id and a.account_id = v.account_id
  and a.budget_id = v.budget_id and a.subject = v.subject and a.window_start = v.window_start
"""
UPDATE_BALANCES = makes(
    _UPDATE_LEDGERS, _UPDATE_ACCOUNTS, text=f"with ledgers as ({_UPDATE_LEDGERS}) {_UPDATE_ACCOUNTS}"
)  # fmt: skip

# What a new hold is stored with; its other columns have their defaults, or follow from the instant of the batch.
_given = RESERVATION.without(
    "created_at", "expires_at", "state", "ended_at", "ended_id", "event_id", "lease", "held_calls", "drawn_tokens",
    "drawn_uncached_tokens", "drawn_nanos", "drawn_calls", "changes", "drawn_use", "end_reason",
)  # fmt: skip
RESERVATION_ROW = BatchRow("held_call_row", (operation_keys.c.key, operation_keys.c.fingerprint, *_given.columns))
given_row = _given.writer(
    "lock, value, text", first=["lock", "value.key", "value.fingerprint"], requested="*value.requested",
    path="text(value.path)",
)  # fmt: skip
_GIVEN = ", ".join(_given.names)

INSERT_RESERVATIONS = f"""
with given as materialized (select * from {RESERVATION_ROW.unpacked()} as v), keyed as (
    insert into operation_keys ({_KEY})
    select tenant_id, '{Reserve.verb}', key, fingerprint, 'reservation', reservation_id, now from given
    returning 1
), stored as (
    insert into reservations (tenant_id, state, created_at, expires_at, {_GIVEN})
    select tenant_id, 'held', now, now + ttl_seconds * interval '1 second', {_GIVEN} from given
    returning 1
)
select 1
"""

END_RESERVATIONS = update_columns(
    reservations.c.tenant_id, reservations.c.reservation_id, reservations.c.state, reservations.c.ended_at,
    reservations.c.ended_id, reservations.c.end_reason,
)  # fmt: skip

_booked = EVENT.without("calls", "part", "corrects", "recosts")
USAGE_EVENT_ROW = BatchRow(
    "booked_event_row",
    (operation_keys.c.source, operation_keys.c.key, operation_keys.c.fingerprint, *_booked.columns),
    placed=frozenset({"occurred_at", "posted_at", "held_at", "counts_since"}),
)
event_row = _booked.writer(
    "lock, value, text, places",
    first=["lock", "value.source", "value.key", "value.fingerprint"],
    **{name: f"places[value.{name}]" for name in USAGE_EVENT_ROW.placed},
    **{name: f"text(value.{name})" for name in ("path", "held_path")},
    **{name: f"*(value.{name} or (None, None))" for name in ("requested", "served")},
)
_BOOKED = ", ".join(_booked.names)

INSERT_EVENTS = f"""
with given as materialized (select * from {USAGE_EVENT_ROW.unpacked()} as v), keyed as (
    insert into operation_keys ({_KEY})
    select tenant_id, source, key, fingerprint, 'event', event_id, now from given
    returning 1
), settled as (
    update reservations as r
    set state = 'settled', event_id = g.event_id,
        ended_id = coalesce(r.ended_id, g.event_id), ended_at = coalesce(r.ended_at, g.now)
    from (select * from given where reservation_id is not null) as g
    where r.tenant_id = g.tenant_id and r.reservation_id = g.reservation_id
), stored as (
    insert into usage_events (tenant_id, booked_at, calls, {_BOOKED})
    select tenant_id, now, case when repetition = '{Repetition.DUPLICATE}' or kind is not null then 0 else 1 end,
           {_BOOKED} from given
    returning 1
)
select 1
"""


def plan_bookings(decided: Sequence[Decided], totals: Sequence[Total], number: int) -> list[Write]:
    """Return the statements for balances, holds and events; none for a table that does not change.

    `totals` are what each tenant has booked in all, `number` is the random one of the batch.
    """
    if not decided:
        return []
    numbered = [*enumerate(decided, start=1)]
    balances: Rows = [
        balance_row(lock, account) for lock, (_, _, writes) in numbered for account in writes.changed_accounts.values()
    ]
    given: Rows = [
        given_row(lock, hold, array_text) for lock, (_, _, writes) in numbered for hold in writes.new_reservations
    ]
    ended: Rows = [
        (tenant, hold.reservation_id, state, now, hold.ended_id, hold.end_reason)
        for tenant, now, writes in decided
        for hold, state in writes.ended_reservations
    ]
    places = Places[datetime]()
    events: Rows = [
        event_row(lock, event, array_text, places) for lock, (_, _, writes) in numbered for event in writes.events
    ]
    locks = array_text([tenant for tenant, _, _ in decided]), [now for _, now, _ in decided]
    return [
        (UPDATE_BALANCES, (balances, *locks, *map(array_text, zip(*totals, strict=True)), number)),
        *([(INSERT_RESERVATIONS, (given, *locks))] if given else []),
        *END_RESERVATIONS.plan(ended),
        *([(INSERT_EVENTS, (events, *locks, places.sent))] if events else []),
    ]
