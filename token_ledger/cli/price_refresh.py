"""The commands `prices refresh` and `prices diff`: what is published beside what the price book has."""

import argparse
import asyncio

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, open_database
from token_ledger.cli.model_filter import model_filter
from token_ledger.cli.price_texts import rates_text
from token_ledger.config import Settings
from token_ledger.storage.price_refresh import Entry, Proposal, accept_proposals, find_proposals
from token_ledger.storage.published_prices import source_name
from token_ledger.storage.untaken_prices import find_untaken
from token_ledger.storage.upkeep.periods import database_now


def refresh_prices(settings: Settings, options: argparse.Namespace) -> int:
    """Show what would change, and take it over if asked to."""
    with named_database(settings) as url:
        proposals = asyncio.run(_refresh(url, options))
    for each in proposals:
        print(_in_words(each))
    if not proposals:
        print(f"nothing to change: the price book has what {source_name()} publishes")
    elif options.accept:
        print(f"models taken over from {source_name()}: {len(proposals)}; their prices count from now on")
    else:
        print(f"models that would change: {len(proposals)}; add --accept to take over what {source_name()} has")
    return 0


async def _refresh(url: str, options: argparse.Namespace) -> list[Proposal]:
    wanted = model_filter(options)
    async with open_database(url) as database:
        async with database.reading() as connection:
            found = await find_proposals(connection)
            now = await database_now(connection)
        proposals = [each for each in found if wanted(each.provider, each.model)]
        if options.accept:
            await accept_proposals(database, proposals, actor(), now=now)
    return proposals


def show_differences(settings: Settings, options: argparse.Namespace) -> int:
    """List what a refresh would change, and what the price book does not take over."""
    wanted = model_filter(options)
    options.accept = False
    with named_database(settings) as url:
        proposals = asyncio.run(_refresh(url, options))
    untaken = [each for each in find_untaken() if wanted(each.provider, each.model)]
    accepting = "token-ledger prices refresh --accept takes them over"
    print(f"models that differ from {source_name()}: {len(proposals)}; {accepting}")
    for proposal in proposals:
        print(f"  {_in_words(proposal)}")
    print(f"models of which something that is published is not taken over: {len(untaken)}")
    for each in untaken:
        print(f"  {each.provider}/{each.model}: {each.why}")
    return 0


def _in_words(proposal: Proposal) -> str:
    name = f"{proposal.provider}/{proposal.model}"
    if not proposal.before:
        return f"{name}: new: {_entries(proposal.after)}"
    return f"{name}: {_entries(proposal.before)} → {_entries(proposal.after)}"


def _entries(entries: tuple[Entry, ...]) -> str:
    parts = []
    for each in entries:
        words = rates_text(each.rates)
        if each.valid_from is not None:
            words += f" from {each.valid_from:%Y-%m-%d}"
        if each.daily_from is not None and each.daily_until is not None:
            words += f" from {each.daily_from:%H:%M} to {each.daily_until:%H:%M} UTC"
        parts.append(words)
    return " | ".join(parts)
