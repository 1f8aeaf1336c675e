"""Decides whether a call may be made: all accounts on its path have room, or none is touched.

A lease is decided as that many calls at once: half of what is available, divided by the number of open leases.
"""

from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.call_facts import call_facts
from token_ledger.core.decisions.candidate import Candidate, announced, candidate_for, price_to_hold, size_of
from token_ledger.core.decisions.fitting import fitting_output
from token_ledger.core.decisions.prices import why_unknown
from token_ledger.core.decisions.runs import find_open_run, stopped
from token_ledger.core.decisions.triggers import choose_model
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Unit
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.hold_cost import Size
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.price import ModelName, Price
from token_ledger.core.model.refusal import Refusal, refuse
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run
from token_ledger.core.model.trigger import Advice

Admission = outcomes.Granted | outcomes.Denied | outcomes.Refused


def reserve(books: Books, command: commands.Reserve) -> Admission:
    """Hold what a call may take on every account that it falls on, or deny it and hold nothing."""
    refused = stopped(books)
    if refused is not None:
        return refused
    run = None
    if command.run_id is not None:
        found = find_open_run(books, command.run_id)
        if isinstance(found, outcomes.Refused):
            return found
        run = found
    price = price_to_hold(books, command)
    if price is None:
        detail = why_unknown(books, command.provider, command.model)
        return outcomes.Refused(outcomes.Code.UNKNOWN_MODEL, detail, "model")
    facts = call_facts(command, run, books.loaded.users, books.now, books.use_model_name)
    if run is not None and any(each.strict and command.agent_type not in each.allocated for each in books.lineage(run)):
        return _deny(books, command, facts, outcomes.Code.NOT_ALLOCATED, ())
    return _admit(books, command, run, facts, price)


def _admit(books: Books, command: commands.Reserve, run: Run | None, facts: CallFacts, price: Price) -> Admission:
    size = size_of(books, command)
    asked = candidate_for(books, run, facts, price, size)
    call, advice = choose_model(books, command, run, asked, size)
    lacking = call.lacking()
    if any(account.is_hard for account, _ in lacking):
        fits = fitting_output(books, command, run, asked, call)
        return _deny(books, command, call.facts, outcomes.Code.BUDGET_EXCEEDED, _refusals(call, lacking), fits)
    if call.overfills():
        detail = (
            f"more would be held than the largest amount ({format_money(LARGEST_AMOUNT)} dollars, {LARGEST_AMOUNT}"
            " tokens); settle or release holds first, or ask for less"
        )
        return outcomes.Refused(outcomes.Code.INVALID_REQUEST, detail, "max_output_tokens")
    if isinstance(command, commands.Lease):
        several = call.times(_lendable_calls(call, command.calls))
        if not several.calls:
            scarce = [(account, unit) for account in call.accounts if (unit := _scarce(call, account)) is not None]
            fits = fitting_output(books, command, run, asked, call)
            return _deny(books, command, call.facts, outcomes.Code.LEASE_TOO_SMALL, _refusals(call, scarce), fits)
        call, lacking = several, several.lacking()
    warnings: tuple[Refusal, ...] = ()
    if lacking:
        warnings = _refusals(call, lacking)
        _note_denial(books, command, call.facts, outcomes.Code.BUDGET_EXCEEDED, warnings, None, granted=call.calls)
    return _grant(books, command, call, size, advice, warnings)


def _refusals(call: Candidate, lacking: list[tuple[Account, Unit]]) -> tuple[Refusal, ...]:
    return tuple(
        [refuse(account, unit, call.taken(account, unit), call.refused_calls(account)) for account, unit in lacking]
    )


def _lendable_calls(call: Candidate, asked: int) -> int:
    """Return for how many such calls a lease may be given."""
    bounds = (_lendable(call, account, unit) for account in call.accounts if account.is_hard for unit in Unit)
    most = min([asked, *(bound for bound in bounds if bound is not None)])
    while call.times(most).overfills():  # only absurd amounts do, and one call does not
        most //= 2
    return most


def _lendable(call: Candidate, account: Account, unit: Unit) -> int | None:
    room = call.room(account, unit)
    return None if room is None else room // (2 * (account.leases + 1))


def _scarce(call: Candidate, account: Account) -> Unit | None:
    """Return the first unit of which an account has too little for a lease of even one call."""
    if not account.is_hard:
        return None
    return next((unit for unit in Unit if _lendable(call, account, unit) == 0), None)


def _grant(
    books: Books, command: commands.Reserve, call: Candidate, size: Size, advice: list[Advice],
    warnings: tuple[Refusal, ...],
) -> outcomes.Granted:  # fmt: skip
    books.hold(call.accounts, call.tokens, call.uncached_tokens, call.nanos, call.calls)
    lease = isinstance(command, commands.Lease)
    expires_at = books.expiry(command.ttl_seconds)
    # What every hold has stands in its place: a keyword takes five times as long.
    reservation = Reservation(
        books.new_id(), call.facts, ModelName(command.provider, command.model),
        command.input_tokens, command.cached_input_tokens, command.max_output_tokens,
        call.tokens, call.uncached_tokens, call.nanos, call.price.price_id,
        [account.account_id for account in call.accounts],
        books.now, books.lease_end(call.accounts, expires_at) if lease else expires_at, command.ttl_seconds,
        advice=tuple(advice),
        warnings=warnings,
        lease=lease,
        held_calls=call.calls,
        discount_id=call.price.discount_id,
        key=command.key,
        fingerprint=command.fingerprint,
    )  # fmt: skip
    if command.max_usage or command.service_tier is not None:
        reservation.announced = announced(books, command, call.price)
    for fired in advice:
        books.writes.firings.append((reservation.reservation_id, fired))
    if lease:
        books.lend(reservation, command)
        return outcomes.Granted(reservation, call.price, assumed_rates=size.assumed_rates)
    books.give(reservation, command)
    return outcomes.Granted(reservation)


def _deny(
    books: Books, command: commands.Reserve, facts: CallFacts, code: outcomes.Code,
    refusals: tuple[Refusal, ...], fits: int | None = None,
) -> outcomes.Denied:  # fmt: skip
    denial = _note_denial(books, command, facts, code, refusals, fits, granted=0)
    books.note_key(command, "denial", denial.denial_id)
    return outcomes.Denied(denial)


def _note_denial(
    books: Books, command: commands.Reserve, facts: CallFacts, code: outcomes.Code,
    refusals: tuple[Refusal, ...], fits: int | None, *, granted: int,
) -> outcomes.Denial:  # fmt: skip
    """Note that accounts refused a call, or `granted` calls that were admitted because no hard account refused them.

    Of a lease that is denied one call is noted: its holder reserves the calls one by one then.
    """
    denial = outcomes.Denial(
        books.new_id(), facts, code, not granted, refusals,
        command.input_tokens, command.max_output_tokens, fits, books.now, granted or 1,
    )  # fmt: skip
    books.writes.denials.append(denial)
    books.loaded.denials[denial.denial_id] = denial
    return denial
