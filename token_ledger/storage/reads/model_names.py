"""Reads what the names of models that callers used are in the books."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class BookedName:
    """The newest decision on a name: what it is in the books since when, and whether an administrator decided.

    `differs` is what the price book would call the model, if it were not decided otherwise.
    """

    decided_id: int
    asked: ModelName
    name: ModelName
    since: datetime
    renamed: bool
    differs: ModelName | None


_NEWEST = """
select distinct on (asked_provider, asked_model) * from model_names where tenant_id = :tenant
order by asked_provider, asked_model, decided_id desc
"""


@dataclass(frozen=True, slots=True)
class Spellings:
    """What all names that were used are in the books, and of these the ones that an administrator decided on."""

    names: dict[tuple[str, str], ModelName]
    renamed: dict[tuple[str, str], ModelName]

    def names_by(self, prices: PriceBook) -> Callable[[str, str], ModelName]:
        """Return what finds the name in the books of a provider's model; without a provider any will do."""
        known = Loaded(model_names=self.names, booked_models=[*dict.fromkeys(self.names.values())])
        return partial(known.model_name, prices, self.renamed)


async def find_spellings(connection: AsyncConnection, tenant: TenantId) -> Spellings:
    """Return all names of a tenant, those decided first in front."""
    found = await fetch_rows(
        connection, f"select * from ({_NEWEST}) as newest order by decided_id", tenant=tenant
    )  # fmt: skip
    names, renamed = {}, {}
    for row in found:
        asked = row.asked_provider, row.asked_model
        names[asked] = ModelName(row.provider, row.model)
        if row.change_id is not None:
            renamed[asked] = names[asked]
    return Spellings(names, renamed)


async def find_model_names(
    connection: AsyncConnection, tenant: TenantId, prices: PriceBook, *, after: int = 0, limit: int | None = None
) -> list[BookedName]:
    """Return names in the order of the decisions, from after one of them."""
    renamed = (await find_spellings(connection, tenant)).renamed
    found = await fetch_rows(
        connection,
        f"select * from ({_NEWEST}) as newest where decided_id > :after order by decided_id limit :limit",
        tenant=tenant, after=after, limit=limit,
    )  # fmt: skip
    names = []
    for row in found:
        asked, name = ModelName(row.asked_provider, row.asked_model), ModelName(row.provider, row.model)
        priced = prices.name_of(*asked)
        now = renamed.get(priced, priced)  # a name that an administrator has renamed is not what it was
        differs = None if now == name else now
        names.append(BookedName(row.decided_id, asked, name, row.since, row.change_id is not None, differs))
    return names
