"""Owns candidates: a call as it might be made, with which model, at which price, on which accounts, taking how much.

What a candidate takes is the worst case: its whole input, its output up to the limit, and the cost of both.
"""

from dataclasses import dataclass, replace

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Reserve
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Counts, Unit
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.hold_cost import Announced, Size, hold_cost_nanos, most_rates, without_price
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.price import Price
from token_ledger.core.model.run import Run


@dataclass(slots=True)
class Candidate:
    """One call, or several of one size."""

    facts: CallFacts
    price: Price
    accounts: list[Account]
    tokens: int
    uncached_tokens: int
    nanos: int
    calls: int = 1

    def times(self, calls: int) -> "Candidate":
        """Return so many such calls."""
        return replace(
            self, tokens=self.tokens * calls, uncached_tokens=self.uncached_tokens * calls, nanos=self.nanos * calls,
            calls=calls,
        )  # fmt: skip

    def _one(self) -> "Candidate":
        calls = self.calls
        return replace(
            self, tokens=self.tokens // calls, uncached_tokens=self.uncached_tokens // calls,
            nanos=self.nanos // calls, calls=1,
        )  # fmt: skip

    def taken(self, account: Account, unit: Unit) -> int:
        """Return what the calls would take of an account."""
        if unit is Unit.COST:
            return self.nanos
        if unit is Unit.CALLS:
            return self.calls
        return self.tokens if account.counts is Counts.ALL else self.uncached_tokens

    def room(self, account: Account, unit: Unit) -> int | None:
        """Return how many times an account has room for the calls in a unit, None where it sets no bound."""
        limit, settled, held = account.figures(unit)
        taken = self.taken(account, unit)
        return None if limit is None or not taken else (limit - settled - held) // taken

    def refused_calls(self, account: Account) -> int:
        """Return how many of the calls an account has no room for, if it refuses any."""
        one = self._one()
        if account.lacking(one.taken(account, Unit.TOKENS), one.nanos, one.calls) is not None:
            return self.calls  # also where a call takes nothing of the unit whose limit is exceeded already
        rooms = (one.room(account, unit) for unit in Unit)
        # A lease of one call may be refused although one call fits.
        return max(1, self.calls - min(room for room in rooms if room is not None))

    def overfills(self) -> bool:
        """Tell whether an account would have more settled and held than the database has room for."""
        most_tokens, most_nanos = LARGEST_AMOUNT - self.tokens, LARGEST_AMOUNT - self.nanos
        for account in self.accounts:
            if (
                account.settled_nanos + account.held_nanos > most_nanos
                or account.settled_tokens + account.held_tokens > most_tokens
            ):
                return True
        return most_nanos < 0

    def lacking(self) -> list[tuple[Account, Unit]]:
        """Return the accounts without room for the calls, each with the first unit that is short."""
        found = []
        for account in self.accounts:
            tokens = self.tokens if account.counts is Counts.ALL else self.uncached_tokens
            unit = account.lacking(tokens, self.nanos, self.calls)
            if unit is not None:
                found.append((account, unit))
        return found


def size_of(books: Books, command: Reserve) -> Size:
    """Return how large a call may become; other kinds without a price are assumed to cost what stands in for prices."""
    return Size(
        command.input_tokens, command.cached_input_tokens, command.max_output_tokens, command.cache_write,
        command.max_usage, assumed_rates(books, command) if command.max_usage else (),
    )  # fmt: skip


def assumed_rates(books: Books, command: Reserve) -> tuple[tuple[str, int], ...]:
    """Return the highest rates of what stands in for prices, for the other kinds that a command announces."""
    return most_rates(_stand_in(books, command), command.max_usage)


def _stand_in(books: Books, command: Reserve) -> Price | None:
    price = books.prices.stand_in_at(books.now)
    return price and (price.served_as(command.service_tier, books.now) or price)


def price_now(books: Books, provider: str, model: str, service_tier: str | None) -> Price | None:
    """Return the price of a model at the instant of the batch, or None where none is known for its tokens.

    It is that of the way of serving, or without one the standard one.
    """
    price = _price_of_any_kind(books, provider, model, service_tier)
    return price if price is not None and price.has_token_rates else None


def _price_of_any_kind(books: Books, provider: str, model: str, service_tier: str | None) -> Price | None:
    prices = books.prices.find(provider, model)
    price = None if prices is None else prices.at(books.now)
    if price is None or service_tier is None:
        return price
    return price.served_as(service_tier, books.now) or price


def price_to_hold(books: Books, command: Reserve) -> Price | None:
    """Return the price that a call is held at: that of its model, or what stands in for unknown ones.

    Without rates for tokens, that of its model counts for a call that announces none, and a kind that has a rate.
    """
    price = _price_of_any_kind(books, command.provider, command.model, command.service_tier)
    if price is not None and (price.has_token_rates or _is_by_the_piece(command, price)):
        return price
    price = _stand_in(books, command)
    return price if price is not None and price.has_token_rates else None


def _is_by_the_piece(command: Reserve, price: Price) -> bool:
    """Whether a call announces no tokens, and something else that a price has a rate for: pages, seconds of audio."""
    has_tokens = command.input_tokens or command.max_output_tokens
    return not has_tokens and any(kind in price.others for kind, _ in command.max_usage)


def announced(books: Books, command: Reserve, price: Price) -> Announced:
    """Return what a command announces beside tokens; `price` is what the call is held at."""
    missing = without_price(price, command.max_usage, command.input_tokens)
    entry = books.prices.entry(price.price_id)
    if command.service_tier is not None and (entry is None or not entry.served_as(command.service_tier, books.now)):
        missing = (*missing, "service_tier")
    stand_in = _stand_in(books, command)
    is_assumed = any(kind in missing for kind, _ in most_rates(stand_in, command.max_usage))
    assumed_by = stand_in.price_id if stand_in is not None and is_assumed else 0
    return Announced(command.max_usage, command.service_tier, missing, assumed_by)


def candidate_for(books: Books, run: Run | None, facts: CallFacts, price: Price, size: Size) -> Candidate:
    """Return a call with the accounts that it falls on; those that do not exist yet are opened."""
    tokens = size.input_tokens + size.max_output_tokens
    return Candidate(
        facts,
        price,
        books.accounts_for(facts, run),
        tokens,
        tokens - size.cached_input_tokens,
        hold_cost_nanos(price, size),
    )
