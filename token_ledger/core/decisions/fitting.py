"""Finds the largest output limit with which a denied call or lease would be admitted.

A trigger may give a call a cheaper model, and whether it does changes with the output limit at a few points only: where
the call costs as much as the trigger asks for, where its context no longer fits a step of the ladder, and where a step
stops being cheaper. Between two such points the model is the same, so the largest output follows from what its accounts
have left.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Lease, Reserve
from token_ledger.core.decisions.candidate import Candidate, candidate_for, price_now, size_of
from token_ledger.core.decisions.triggers import applied_downgrade, find_advice, stands_in
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Counts
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.hold_cost import Size, hold_cost_nanos, hold_rates, unrounded_cost
from token_ledger.core.model.money import affordable_tokens
from token_ledger.core.model.price import Price
from token_ledger.core.model.run import Run
from token_ledger.core.model.trigger import Trigger, TriggerKind

_Known = dict[tuple[CallFacts, int], Candidate]
"""Calls by what they are and by their price."""


def fitting_output(
    books: Books, command: Reserve, run: Run | None, asked: Candidate, denied: Candidate
) -> int | None:  # fmt: skip
    """Return the largest output limit with which a call would be admitted, None if there is none from 1 on.

    `asked` is the call with the model that was asked for, `denied` with the one that a trigger gave it. For a lease it
    is the largest with which at least one call would be lent.
    """
    size, lease = size_of(books, command), isinstance(command, Lease)
    ladders = [trigger for trigger in books.config.active_triggers if trigger.kind is TriggerKind.HIGH_COST]
    if not ladders:
        most = _most_output(asked, size, lease)
        return most if most >= 1 else None
    # Renamed models have one name in the books and each its own price.
    known = {(call.facts, call.price.price_id): call for call in (asked, denied)}
    for start in _starts(ladders, books, command, asked, size):
        call = _call_with(books, command, run, known, asked, size)
        most = _most_output(call, size, lease)
        if most >= start:
            return most
        size = _with_output(size, start - 1)
    return None


def _starts(ladders: list[Trigger], books: Books, command: Reserve, asked: Candidate, size: Size) -> list[int]:
    """Return the output limits from which on the model may be another one, from the largest to 1."""
    starts = {1}
    for trigger in ladders:
        starts.update(_changes_by(trigger, books, command, asked, size))
    return sorted((start for start in starts if 1 <= start <= size.max_output_tokens), reverse=True)


def _changes_by(trigger: Trigger, books: Books, command: Reserve, asked: Candidate, size: Size) -> Iterator[int]:
    """Yield the output limits from which on a trigger fires, or does with a step of its ladder what it did not."""
    if trigger.per_call_nanos is not None:
        rate = hold_rates(asked.price, size)[2]
        left = trigger.per_call_nanos - 1 - hold_cost_nanos(asked.price, _with_output(size, 0))
        if left >= 0 and rate:
            yield affordable_tokens(left, rate) + 1
    for step in trigger.downgrades:
        if not stands_in(step, asked.facts, command.requires, books.model_name):
            continue
        yield step.context_tokens - size.input_tokens + 1
        price = price_now(books, step.to_provider, step.to_model, command.service_tier)
        if price is not None:
            yield from _crossings(asked.price, price, size)


def _crossings(price: Price, other: Price, size: Size) -> Iterable[int]:
    """Return the output limits from which on another one of two prices is the cheaper one."""
    slower = hold_rates(price, size)[2] - hold_rates(other, size)[2]
    if not slower:
        return ()
    begin = _with_output(size, 0)
    behind = unrounded_cost(other, begin) - unrounded_cost(price, begin)
    reached, passed = -(-behind // slower), behind // slower + 1
    return reached, passed  # equal costs at a whole number of tokens are a part by themselves


def _call_with(
    books: Books, command: Reserve, run: Run | None, known: _Known, asked: Candidate, size: Size
) -> Candidate:
    """Return the call that would be made with a size; only its price and its accounts are right."""
    step = applied_downgrade(
        find_advice(books, command, replace(asked, nanos=hold_cost_nanos(asked.price, size)), size)
    )
    if step is None:
        return asked
    facts = asked.facts._replace(**books.model_name(step.to_provider, step.to_model)._asdict())
    price = price_now(books, step.to_provider, step.to_model, command.service_tier)
    assert price is not None, "a downgrade is only chosen when its price is known"
    if (facts, price.price_id) not in known:
        # On books that are thrown away: a denial opens no accounts of a model that is only tried.
        known[facts, price.price_id] = candidate_for(books.scratch(), run, facts, price, size)
    return known[facts, price.price_id]


def _most_output(call: Candidate, size: Size, lease: bool) -> int:
    """Return the most output, up to the size's, that all hard accounts of a call have room for; less than 1 if none."""
    output_rate = hold_rates(call.price, size)[2]
    input_nanos = hold_cost_nanos(call.price, _with_output(size, 0))
    most = size.max_output_tokens
    for account in call.accounts:
        if not account.is_hard:
            continue
        tokens, nanos, calls = (
            None if limit is None else _share(account, limit - used, lease)
            for limit, used in zip(account.limits.amounts, account.used, strict=True)
        )
        if (calls is not None and calls < 1) or (nanos is not None and nanos < input_nanos):
            return 0
        if tokens is not None:
            cached = size.cached_input_tokens if account.counts is Counts.UNCACHED else 0
            most = min(most, tokens - size.input_tokens + cached)
        if nanos is not None and output_rate:
            most = min(most, affordable_tokens(nanos - input_nanos, output_rate))
        if most < 1:
            return most
    return most


def _share(account: Account, room: int, lease: bool) -> int:
    """Return how much a call, or a call of a lease of one, may take of what an account has left."""
    return room // (2 * (account.leases + 1)) if lease and room > 0 else room


def _with_output(size: Size, output: int) -> Size:
    return Size(
        size.input_tokens, size.cached_input_tokens, output, size.cache_write, size.others, size.assumed_rates
    )  # fmt: skip
