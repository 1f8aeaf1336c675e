"""Loads what names of models are in the books, and keeps it, as it changes only with the tenant's set-up."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from token_ledger.core.batch.administration import (
    AskIncrease,
    ChangeBudget,
    CreateBudget,
    GiveGrant,
    RenameModel,
    SetTrigger,
)
from token_ledger.core.batch.call_facts import other_name, served_name
from token_ledger.core.batch.commands import Settle
from token_ledger.core.batch.loaded import AskedName, Loaded
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.trigger import Trigger
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered

LOAD_MODEL_NAMES = """
select n.tenant_id, n.asked_provider, n.asked_model, n.provider, n.model
from unnest($1::bigint[], $2::text[], $3::text[]) as wanted (tenant_id, asked_provider, asked_model)
cross join lateral (
    select * from model_names as stored
    where stored.tenant_id = wanted.tenant_id and stored.asked_provider = wanted.asked_provider
      and stored.asked_model = wanted.asked_model
    order by stored.decided_id desc limit 1
) as n
"""

LOAD_SPELLINGS = """
select distinct on (tenant_id, asked_provider, asked_model)
       tenant_id, asked_provider, asked_model, provider, model, decided_id
from model_names where tenant_id = any($1) order by tenant_id, asked_provider, asked_model, decided_id desc
"""

LOAD_BOOKED_MODELS = f"""
select tenant_id, provider, model from ({LOAD_SPELLINGS}) as newest
group by tenant_id, provider, model order by tenant_id, min(decided_id)
"""

_MOST_NAMES = 10_000


class RecentNames:
    """The names that committed batches used, by tenant."""

    def __init__(self) -> None:
        self._names: dict[TenantId, dict[AskedName, ModelName]] = {}

    def of(self, tenant: TenantId) -> dict[AskedName, ModelName]:
        """Return the names of a tenant."""
        names = self._names.setdefault(tenant, {})
        if len(names) > _MOST_NAMES:  # callers make them up
            names = self._names[tenant] = {}
        return names

    def keep(self, tenant: TenantId, writes: Writes) -> None:
        """Keep the names that a committed batch has decided."""
        if writes.model_names:
            self.of(tenant).update(writes.model_names)

    def forget(self, tenant: TenantId) -> None:
        """Forget the names of a tenant, because its set-up has changed."""
        self._names.pop(tenant, None)


async def load_model_names(
    connection: Connection,
    ordered: Ordered,
    configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
    recent: RecentNames,
    touched: Mapping[int, Reservation],
    decided: Mapping[AskedName, ModelName],
) -> None:
    """Load what the names are that commands and the ladders of triggers use, except those that are kept.

    The uncommitted batch before has `touched` holds and `decided` names.
    """
    wanted: set[tuple[TenantId, str, str]] = set()
    wanted.update((tenant, call.provider, call.model) for tenant, call in ordered.calls if call.model)
    for tenant, settle in ordered.of(Settle):
        hold = touched.get(settle.reservation_id) or loaded[tenant].reservations.get(settle.reservation_id)
        if hold is not None and (served := served_name(settle, hold)) is not None:
            wanted.add((tenant, *served))
        if hold is not None:
            wanted.update((tenant, *other_name(settle, other, hold)) for other in settle.other_models)
    for kind in (CreateBudget, ChangeBudget, GiveGrant, AskIncrease):  # they name models in subjects and selectors
        wanted.update((tenant, "", "") for tenant, _ in ordered.of(kind))
    for tenant, change in ordered.of(SetTrigger):
        wanted.update((tenant, *name) for name in _names_of_ladders([change]))
    for tenant in loaded:
        wanted.update((tenant, *name) for name in _names_of_ladders(configs[tenant].triggers))
    missing = [name for name in wanted if name[1:] not in recent.of(name[0]) and name[1:] not in decided]
    if missing:
        for tenant, provider, model, *name in await connection.fetch(LOAD_MODEL_NAMES, *zip(*missing, strict=True)):
            recent.of(tenant)[provider, model] = ModelName(*name)
        new = sorted({name[0] for name in missing if name[1:] not in recent.of(name[0])})
        booked: dict[TenantId, list[ModelName]] = {tenant: [] for tenant in new}
        for tenant, *name in await connection.fetch(LOAD_BOOKED_MODELS, new) if new else ():
            booked[tenant].append(ModelName(*name))
        for tenant, models in booked.items():
            loaded[tenant].booked_models = [*models, *decided.values()]
    for tenant, into in loaded.items():
        into.model_names = {**recent.of(tenant), **decided} if decided else recent.of(tenant)
    if renaming := sorted({tenant for tenant, _ in ordered.of(RenameModel)}):
        await _load_spellings(connection, renaming, loaded, decided)


async def _load_spellings(
    connection: Connection,
    tenants: Sequence[TenantId],
    loaded: Mapping[TenantId, Loaded],
    decided: Mapping[AskedName, ModelName],
) -> None:
    """Load all names that were used, of tenants that rename a model."""
    found = sorted(await connection.fetch(LOAD_SPELLINGS, tenants), key=itemgetter("decided_id"))
    for tenant in tenants:
        names = {(row[1], row[2]): ModelName(row[3], row[4]) for row in found if row[0] == tenant}
        into = loaded[tenant]
        into.spellings = into.model_names = {**names, **decided}
        into.booked_models = [*dict.fromkeys(into.spellings.values())]


def _names_of_ladders(triggers: Iterable[Trigger | SetTrigger]) -> Iterable[AskedName]:
    for trigger in triggers:
        for step in trigger.downgrades:
            yield step.provider, step.model
            yield step.to_provider, step.to_model
