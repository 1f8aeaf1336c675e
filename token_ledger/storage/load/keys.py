"""Loads what idempotency keys were used for."""

from collections.abc import Iterator, Mapping

from token_ledger.core.batch.commands import Record, Report, Settle, kept_apart, later_readings, other_model_keys
from token_ledger.core.batch.loaded import Loaded, StoredKey
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import Replay

LOAD_KEYS = """
select k.tenant_id, k.source, k.key, k.fingerprint, k.answer, k.target_id, k.booked_at
from unnest($1::operation_key_name[]) as wanted
cross join lateral (
    select * from operation_keys as stored
    where stored.tenant_id = wanted.tenant_id and stored.source = wanted.source and stored.key = wanted.key limit 1
) as k
"""


async def load_keys(connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> list[Replay]:
    """Load the keys that were used before, and return the rows that they led to."""
    wanted = [(tenant, command.source, command.key) for tenant, command in ordered.all if command.key]
    wanted += [(tenant, command.verb, command.key) for tenant, command in ordered.all if command.key_space]
    replays = await _load(connection, wanted, loaded)
    if replays:
        # A report that contradicts an earlier one under its key may be kept already, under a key of its own.
        contradictions = [
            (tenant, apart.source, apart.key)
            for tenant, command in ordered.all
            if isinstance(command, Report)
            and (stored := loaded[tenant].keys.get((command.source, command.key))) is not None
            and stored.fingerprint != command.fingerprint
            and (apart := kept_apart(command))
        ]
        # What other models used within a call that was settled under a repeated key has keys made from its event.
        beside = [
            (tenant, *key)
            for tenant, command in ordered.of(Settle)
            if command.other_models
            and (stored := loaded[tenant].keys.get((command.source, command.key))) is not None
            and stored.answer == "event"
            for key in other_model_keys(stored.target_id, len(command.other_models))
        ]
        replays += await _load(connection, contradictions + beside + _keys_of_readings(ordered, loaded), loaded)
    return replays


def _read_again(ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> Iterator[tuple[TenantId, Record]]:
    """Yield the imported calls that are read again, and not as they were before: they may have been unfinished."""
    known = {tenant for tenant, into in loaded.items() if into.keys}
    for tenant, record in ordered.of(Record) if known else ():
        if record.may_grow and tenant in known:
            stored = loaded[tenant].keys.get((record.source, record.key))
            if stored is not None and stored.fingerprint != record.fingerprint:
                yield tenant, record


def _keys_of_readings(ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> list[tuple[TenantId, str, str]]:
    return [
        (tenant, later.source, later.key)
        for tenant, record in _read_again(ordered, loaded)
        for later in later_readings(record)
    ]


def readings_of(ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> Iterator[tuple[TenantId, int]]:
    """Yield the events that earlier readings of calls were booked as: the newest may be taken back."""
    for tenant, record in _read_again(ordered, loaded):
        keys = loaded[tenant].keys
        for each in (record, *later_readings(record)):
            stored = keys.get((each.source, each.key))
            if stored is not None and stored.answer == "event":
                yield tenant, stored.target_id


async def _load(
    connection: Connection, wanted: list[tuple[TenantId, str, str]], loaded: Mapping[TenantId, Loaded]
) -> list[Replay]:
    replays: list[Replay] = []
    for row in await connection.fetch(LOAD_KEYS, wanted) if wanted else ():
        tenant, source, key, fingerprint, answer, target_id, booked_at = row
        loaded[tenant].keys[source, key] = StoredKey(fingerprint, answer, target_id)
        replays.append((tenant, answer, target_id, booked_at))
    return replays
