"""Compares the price book with what the installed genai-prices publishes, and takes over what a person has accepted.

What is accepted is added and counts from then on: what the past cost does not change. Nothing is ever taken away.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.principal import OPERATOR_TENANT
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.database import Database
from token_ledger.storage.global_prices import AS_OWNER, announce
from token_ledger.storage.json_columns import parsed
from token_ledger.storage.published_prices import published_entries, source_name

Name = tuple[str, str]

CURRENT = """
select provider, model, ordinal, rates, valid_from, daily_from, daily_until, context_tokens, source from prices as p
where source = (
    select source from prices as newest where newest.provider = p.provider and newest.model = p.model
    order by price_id desc limit 1
)
order by provider, model, ordinal
"""
ACCEPT = text("""
insert into prices (provider, model, ordinal, rates, valid_from, daily_from, daily_until, context_tokens, source)
values (:provider, :model, :ordinal, cast(:rates as jsonb), :valid_from, :daily_from, :daily_until, :context_tokens,
        :source)
""")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a model; of those that apply at an instant the one with the highest `ordinal` counts."""

    ordinal: int
    rates: Any
    valid_from: datetime | None
    daily_from: time | None
    daily_until: time | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would change for a model: its entries `before`, none if it is new, and those that are published."""

    provider: str
    model: str
    before: tuple[Entry, ...]
    after: tuple[Entry, ...]
    context_tokens: int | None


async def find_proposals(connection: AsyncConnection) -> list[Proposal]:
    """Return what the installed genai-prices has that the price book has not, by name of the model."""
    stored = _by_name((await connection.execute(text(CURRENT))).all())
    published = _by_name(published_entries(source_name()))
    proposals = []
    for name, (after, context_tokens) in sorted(published.items()):
        before, _ = stored.get(name, ((), None))
        if before != _as_accepted(after, before):
            proposals.append(Proposal(*name, before, after, context_tokens))
    return proposals


def _by_name(rows: Iterable[Sequence[Any]]) -> dict[Name, tuple[tuple[Entry, ...], int | None]]:
    found: dict[Name, tuple[tuple[Entry, ...], int | None]] = {}
    for provider, model, ordinal, rates, valid_from, daily_from, daily_until, context_tokens, _ in rows:
        entries, _ = found.get((provider, model), ((), None))
        entry = Entry(ordinal, parsed(rates), valid_from, daily_from, daily_until)
        found[provider, model] = (*entries, entry), context_tokens
    return found


def _as_accepted(published: tuple[Entry, ...], stored: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return published entries as they were stored: those that were accepted later do not begin before that."""
    since = stored[0].valid_from if stored else None
    return tuple(_from(entry, since) for entry in published)


def _from(entry: Entry, since: datetime | None) -> Entry:
    if since is None:
        return entry
    return replace(entry, valid_from=since if entry.valid_from is None else max(entry.valid_from, since))


async def accept_proposals(
    database: Database, proposals: Sequence[Proposal], actor: str, *, now: datetime
) -> None:  # fmt: skip
    """Add what is published; of models that had a price before it counts from now on, of new ones from the beginning.

    It takes the owner of the tables.
    """
    source = f"{source_name()}, accepted {now:%Y-%m-%d %H:%M:%S}"
    rows = [
        {
            "provider": each.provider, "model": each.model, "ordinal": entry.ordinal, "rates": json.dumps(entry.rates),
            "valid_from": entry.valid_from, "daily_from": entry.daily_from, "daily_until": entry.daily_until,
            "context_tokens": each.context_tokens, "source": source,
        }
        for each in proposals
        for entry in (_from(published, now if each.before else None) for published in each.after)
    ]  # fmt: skip
    if not rows:
        return
    counts = {
        "changed": sum(bool(each.before) for each in proposals),
        "new": sum(not each.before for each in proposals),
    }
    async with database.changing(OPERATOR_TENANT) as connection:
        await note_change(connection, OPERATOR_TENANT, actor, "prices.refresh", source, after=counts)
        await connection.exec_driver_sql(AS_OWNER)
        await connection.execute(ACCEPT, rows)
    await announce(database)
