"""Loads runs that commands are about, with their ancestors, and open runs to attach to."""

from collections.abc import Iterable, Mapping

from token_ledger.core.batch.commands import EndRun, OpenRun, Preflight
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.load.repeated_keys import Replay

# With every run that they are a part of.
LOAD_RUNS = f"""
with asked as materialized (
    select {rows.RUN.select("r")}
    from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, run_id)
    cross join lateral (
        select * from runs as stored
        where stored.tenant_id = wanted.tenant_id and stored.run_id = wanted.run_id limit 1
    ) as r
)
select * from asked
union all
select {rows.RUN.select("r")}
from asked cross join lateral unnest(asked.ancestors) as wanted (run_id)
cross join lateral (
    select * from runs as stored
    where stored.tenant_id = asked.tenant_id and stored.run_id = wanted.run_id limit 1
) as r
"""


async def load_runs(
    connection: Connection,
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
    replays: Iterable[Replay],
    known: Mapping[TenantId, Known],
    touched: Mapping[int, Reservation],
) -> None:
    """Load the runs of commands and of loaded holds, each with its ancestors, except those that are `known`."""
    wanted = {(tenant, each.run_id) for tenant, each in ordered.with_field("run_id") if each.run_id is not None}
    planned = ((tenant, call.run_id) for tenant, plan in ordered.of(Preflight) for call, _ in plan.calls)
    wanted.update(run for run in planned if run[1] is not None)
    wanted.update((tenant, run.parent_run_id) for tenant, run in ordered.of(OpenRun) if run.parent_run_id is not None)
    wanted.update((tenant, target) for tenant, answer, target, _ in replays if answer == "run")
    holds = ((tenant, hold) for tenant, into in loaded.items() for hold in into.reservations.values())
    wanted.update((tenant, hold.facts.run_id) for tenant, hold in holds if hold.facts.run_id is not None)
    if touched:
        (tenant,) = loaded
        wanted.update((tenant, hold.facts.run_id) for hold in touched.values() if hold.facts.run_id is not None)
    for tenant, run_id in [*wanted]:
        lineage = known[tenant].lineage_of(run_id)
        if lineage:
            loaded[tenant].runs.update(lineage)
            wanted.remove((tenant, run_id))
    if not wanted:
        return
    for row in await connection.fetch(LOAD_RUNS, *zip(*wanted, strict=True)):
        loaded[row["tenant_id"]].runs[row["run_id"]] = rows.RUN.read(row)


_ATTACHABLE = """
        from runs as stored
        where stored.tenant_id = wanted.tenant_id and stored.external_id = wanted.external_id
          and stored.state = 'open' and not exists (
            select from runs as above
            where above.tenant_id = stored.tenant_id and above.run_id = any(stored.ancestors) and above.state <> 'open'
          )
"""

# Those that are open, like all that they are a part of, which come with them. Runs `$3` are ended in this batch or the
# one before, and their parts with them, so the newest that stays open is needed, and all that are newer.
LOAD_ATTACHABLE = f"""
with attachable as materialized (
    select {rows.RUN.select("r")}
    from unnest($1::bigint[], $2::text[]) as wanted (tenant_id, external_id)
    left join lateral (
        select run_id {_ATTACHABLE} and stored.run_id <> all($3::bigint[]) and not stored.ancestors && $3::bigint[]
        order by stored.run_id desc limit 1
    ) as staying on true
    cross join lateral (
        select * {_ATTACHABLE} and stored.run_id >= coalesce(staying.run_id, 0)
    ) as r
)
select *, true as is_asked from attachable
union all
select {rows.RUN.select("r")}, false
from attachable cross join lateral unnest(attachable.ancestors) as wanted (run_id)
cross join lateral (
    select * from runs as stored
    where stored.tenant_id = attachable.tenant_id and stored.run_id = wanted.run_id limit 1
) as r
order by run_id
"""


async def load_attachable_runs(
    connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded], changed_before: Iterable[int]
) -> None:
    """Load the open runs of each `external_id` that a command wants to attach to, as far back as one can be needed.

    `changed_before` are runs that an uncommitted batch before has changed.
    """
    attaching = {
        (tenant, each.external_id)
        for tenant, each in ordered.of(OpenRun)
        if each.attach and each.external_id is not None
    }
    if not attaching:
        return
    ending = [*changed_before, *(each.run_id for _, each in ordered.of(EndRun))]
    for row in await connection.fetch(LOAD_ATTACHABLE, *zip(*attaching, strict=True), ending):
        into = loaded[row["tenant_id"]]
        run = into.runs.setdefault(row["run_id"], rows.RUN.read(row))
        if row["is_asked"]:
            into.attachable_runs.setdefault(row["external_id"], []).append(run.run_id)
