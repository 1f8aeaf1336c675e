"""Loads reservations that commands are about, and those that are due to expire."""

from collections.abc import Iterable, Mapping, Sequence

from token_ledger.core.batch.commands import DUE_BESIDE_COMMANDS, ExpireDue
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import Replay
from token_ledger.storage.schema.batch_rows import array_text

LOAD_RESERVATIONS = f"""
select {rows.RESERVATION.select("r")}, false as due
from unnest($1::text::bigint[], $2::text::bigint[]) as wanted (tenant_id, reservation_id)
cross join lateral (
    select * from reservations as stored
    where stored.tenant_id = wanted.tenant_id and stored.reservation_id = wanted.reservation_id limit 1
) as r
union all
select {rows.RESERVATION.select("r")}, true as due
from unnest($3::text::bigint[], $4::timestamptz[], $5::text::integer[]) as locked (tenant_id, now, most)
cross join lateral (
    select * from reservations as held
    where held.tenant_id = locked.tenant_id and held.state = 'held' and held.expires_at <= locked.now
    order by held.expires_at, held.reservation_id limit locked.most
) as r
"""


async def load_reservations(
    connection: Connection,
    locked: Sequence[Locked],
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
    replays: Iterable[Replay],
    known: Mapping[TenantId, Known],
    touched: Mapping[int, Reservation],
) -> None:
    """Load the holds that commands are about, except those in `touched` and `known` ones, and those that are due."""
    about = ((tenant, command.reservation_id) for tenant, command in ordered.with_field("reservation_id"))
    wanted = {name for name in about if name[1] is not None}
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "reservation")
    wanted = {name for name in wanted if name[1] not in touched}
    for name in [*wanted]:
        if (open_hold := known[name[0]].holds.get(name[1])) is not None:
            loaded[name[0]].reservations[name[1]] = open_hold
            wanted.remove(name)
    most = {lock.tenant_id: DUE_BESIDE_COMMANDS for lock in locked}
    for tenant, sweep in ordered.of(ExpireDue):
        most[tenant] = max(most[tenant], sweep.most)
    found = await connection.fetch(
        LOAD_RESERVATIONS,
        array_text([tenant for tenant, _ in wanted]),
        array_text([reservation_id for _, reservation_id in wanted]),
        array_text([lock.tenant_id for lock in locked]),
        [lock.now for lock in locked],
        array_text([most[lock.tenant_id] for lock in locked]),
    )
    for row in found:
        *columns, due = row
        into = loaded[columns[0]]
        reservation_id = columns[1]
        if reservation_id not in into.reservations:
            into.reservations[reservation_id] = rows.RESERVATION.read(columns)
        if due:
            into.due.append(reservation_id)
