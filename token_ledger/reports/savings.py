"""Owns what is known of savings: what each technique did and what it is measured to have saved, and what to do next.

Nothing is guessed: what nobody has measured is None, and is shown as not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.money import format_money
from token_ledger.core.model.usage import Figures
from token_ledger.reports.calls import Selection
from token_ledger.reports.sums import NOTHING
from token_ledger.storage.reads.query import fetch_rows

SMART_CACHING: Final = "smart_caching"
_SPAN: Final = "posted_at >= :since and posted_at < :until"
_FIRINGS: Final = """
select technique, count(*), count(*) filter (where applied) from trigger_firings
where tenant_id = :tenant and fired_at >= :since and fired_at < :until group by 1 order by 1
"""
MOST_ADVISED: Final = 3


@dataclass(frozen=True, slots=True)
class Technique:
    """How often a technique was called for, and how often it was applied; what that is measured to have saved."""

    name: str
    fired: int
    applied: int
    saved_nanos: int | None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do, what shows that, and what it should save, if that is measured."""

    action: str
    evidence: str
    saves_nanos: int | None


async def techniques_of(connection: AsyncConnection, selection: Selection) -> tuple[Technique, ...]:
    """Return the techniques of which there is anything to say.

    Triggers fire for calls of the whole tenant, so with filters only what is told of single events is known.
    """
    hits, saved = (await fetch_rows(connection, _cache_hits(selection), **selection.values))[0]
    found = [] if not hits else [Technique(SMART_CACHING, hits, hits, saved)]
    if not selection.filters:
        since, until = selection.span
        rows = await fetch_rows(connection, _FIRINGS, tenant=selection.tenant, since=since, until=until)
        found += [Technique(name, fired, applied, None) for name, fired, applied in rows]
    return tuple(found)


def _cache_hits(selection: Selection) -> str:
    saved = "coalesce(sum((details -> 'saved' ->> 'nanos')::bigint), 0)::bigint"
    where = selection.where(f"kind = 'cache_hit' and {_SPAN}")
    return f"select count(*), {saved} from usage_events {where}"


async def failed_calls(connection: AsyncConnection, selection: Selection) -> tuple[int, int]:
    """Return how many calls failed, and what these cost."""
    statement = "select coalesce(sum(calls), 0)::bigint, coalesce(sum(cost_nanos), 0)::bigint from usage_events"
    where = selection.where(f"failed and {_SPAN}")
    [(calls, nanos)] = await fetch_rows(connection, f"{statement} {where}", **selection.values)
    return calls, nanos


def recommended(
    techniques: Sequence[Technique], failed: tuple[int, int], unpriced: Figures, unattributed: Figures
) -> tuple[Recommendation, ...]:
    """Return what to do first: what saves most, then what is not measured."""
    found = [
        Recommendation(
            f"let the trigger apply {each.name.replace('_', ' ')}",
            f"it was called for {each.fired:,} times and applied {each.applied:,} times",
            None,
        )
        for each in techniques
        if each.applied < each.fired
    ]
    calls, nanos = failed
    if nanos > 0:
        found.append(
            Recommendation(
                "find out why calls fail", f"{calls:,} failed calls cost {format_money(nanos)} dollars", nanos
            )
        )
    if unpriced != NOTHING:
        action = "set the prices that are missing, and re-cost"
        found.append(Recommendation(action, f"{unpriced.calls:,} calls had no price of all of it", None))
    if unattributed.cost_nanos > 0:
        evidence = f"calls of no cost center cost {format_money(unattributed.cost_nanos)} dollars"
        found.append(Recommendation("give users and keys a cost center", evidence, None))
    return tuple(sorted(found, key=lambda each: -(each.saves_nanos or 0))[:MOST_ADVISED])
