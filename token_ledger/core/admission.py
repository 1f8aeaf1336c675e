"""Decides whether a call may be made: all accounts on its path have room, or none is touched (design D3, D4, D18).

A lease is decided like so many calls at once, as many as half of what is available leaves to each open lease (D8).
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from token_ledger.core.account import Account
from token_ledger.core.books import Books, is_hard
from token_ledger.core.budget import Counts, Unit
from token_ledger.core.commands import OpenLease, Preflight, Reserve
from token_ledger.core.facts import call_facts
from token_ledger.core.money import affordable_tokens
from token_ledger.core.outcomes import (
    Code,
    Denial,
    Denied,
    Granted,
    Outcome,
    PreflightAnswer,
    Refused,
    refusal_value,
)  # fmt: skip
from token_ledger.core.price import Price, Size, hold_cost_nanos
from token_ledger.core.reservation import CallFacts, Reservation
from token_ledger.core.run import Run
from token_ledger.core.runs import find_open_run, stopped
from token_ledger.core.trigger import (
    TECHNIQUE_OF,
    Advice,
    Downgrade,
    Mode,
    Technique,
    TriggerKind,
    advice_value,
    calls_before_evidence,
    choose_downgrade,
    find_evidence,
)  # fmt: skip


@dataclass(slots=True)
class Candidate:
    """Calls as they might be made: with which model, at which price, on which accounts, taking how much of each."""

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

    def counted(self, account: Account) -> int:
        """Return the tokens that an account counts of the calls."""
        return self.tokens if account.counts is Counts.ALL else self.uncached_tokens

    def lacking(self, account: Account) -> Unit | None:
        """Return the first unit in which an account has no room for the calls."""
        return account.lacking(self.counted(account), self.nanos, self.calls)

    def taken(self, account: Account, unit: Unit) -> int:
        """Return what the calls would take of an account."""
        if unit is Unit.COST:
            return self.nanos
        if unit is Unit.CALLS:
            return self.calls
        return self.counted(account)

    def room(self, account: Account, unit: Unit) -> int | None:
        """Return how many times an account has room for the calls in a unit, None where it sets no bound."""
        limit, settled, held = account.figures(unit)
        taken = self.taken(account, unit)
        return None if limit is None or not taken else (limit - settled - held) // taken


def reserve(books: Books, command: Reserve) -> Outcome:
    """Hold what a call may take on every account that it falls on, or deny it and hold nothing."""
    refused = stopped(books)
    if refused is not None:
        return refused
    run = None
    if command.run_id is not None:
        found = find_open_run(books, command.run_id)
        if isinstance(found, Refused):
            return found
        run = found
    facts = call_facts(command, run, books.loaded.users, books.now)
    price = _price_now(books, facts.provider, facts.model)
    if price is None:
        detail = f"no price is known for model {command.model!r} of provider {command.provider!r}"
        return Refused(Code.UNKNOWN_MODEL, detail, "model")
    if run is not None and any(each.strict and command.agent_type not in each.allocated for each in books.lineage(run)):
        return _deny(books, command, facts, Code.NOT_ALLOCATED, [], None)
    return _admit(books, command, run, facts, price)


def preflight(books: Books, command: Preflight) -> Outcome:
    """Reserve the calls one after the other in books that are thrown away, and tell how far that went.

    Calls that are alike are decided together for as long as the decision stays the same, so that the work does not
    grow with their number: what is decided here stops everything else that the process does.
    """
    refused = stopped(books)
    if refused is not None:
        return refused
    scratch = books.scratch()
    fits: list[int] = []
    first: Denied | Refused | None = None
    warnings: list[dict[str, Any]] = []
    for call, count in command.calls:
        fitting = 0
        while fitting < count:
            outcome = reserve(scratch, call)
            if not isinstance(outcome, Granted):
                assert isinstance(outcome, Denied | Refused)
                first = first or outcome
                break
            if outcome.reservation.warnings is not None and not warnings:
                warnings = json.loads(outcome.reservation.warnings)
            fitting += 1
            fitting += _repeat(scratch, call, outcome.reservation, count - fitting, warned=bool(warnings))
        fits.append(fitting)
    tokens = sum((call.input_tokens + call.max_output_tokens) * count for call, count in command.calls)
    nanos = sum(_worst_case_nanos(books, call) * count for call, count in command.calls)
    return PreflightAnswer(tuple(fits), tuple(count for _, count in command.calls), tokens, nanos, first, warnings)


def _repeat(books: Books, command: Reserve, given: Reservation, most: int, *, warned: bool) -> int:
    """Hold as many more such calls as are decided like the one that a hold was given for; return how many.

    Holds only fill accounts up, so a decision stays what it is until an account is full or a trigger begins to fire.
    """
    run = None if command.run_id is None else books.loaded.runs[command.run_id]
    price = _price_now(books, command.provider, command.model)
    assert price is not None, "a hold was given for such a call"
    size = _size(command)
    facts = given.facts._replace(provider=command.provider, model=command.model)
    asked = _candidate(books, run, facts, price, size)
    call, _ = _choose(books, command, run, asked, size)
    if call.facts != given.facts:
        return 0
    told = [account for account in call.accounts if is_hard(account) or not warned]
    bounds = [call.room(account, unit) for account in told for unit in Unit]
    for trigger in books.config.active_triggers:
        if find_evidence(trigger, asked.accounts, size, asked.nanos) is None:
            bounds += [
                calls_before_evidence(trigger, account, call.taken(account, trigger.unit))
                for account in asked.accounts
                if account in call.accounts
            ]
    more = min([most, *(bound for bound in bounds if bound is not None)])
    books.hold(call.accounts, call.tokens * more, call.uncached_tokens * more, call.nanos * more, more)
    return more


def _worst_case_nanos(books: Books, call: Reserve) -> int:
    price = _price_now(books, call.provider, call.model)
    return 0 if price is None else hold_cost_nanos(price, _size(call))


def _size(command: Reserve) -> Size:
    return Size(command.input_tokens, command.cached_input_tokens, command.max_output_tokens, command.cache_write)


def _admit(books: Books, command: Reserve, run: Run | None, facts: CallFacts, price: Price) -> Outcome:
    size = _size(command)
    call, advice = _choose(books, command, run, _candidate(books, run, facts, price, size), size)
    refused = _refused(call)
    if any(is_hard(account) for account, _ in refused):
        fits = _fitting_output(call, size)
        return _deny(books, command, call.facts, Code.BUDGET_EXCEEDED, _refusals(call, refused), fits)
    if isinstance(command, OpenLease):
        several = call.times(_lendable_calls(call, command.calls))
        if not several.calls:
            half = [(account, unit) for account in call.accounts if (unit := _scarce(call, account)) is not None]
            return _deny(books, command, call.facts, Code.LEASE_TOO_SMALL, _refusals(call, half), None)
        call, refused = several, _refused(several)
    warnings = None
    if refused:
        refusals = _refusals(call, refused)
        _note_denial(books, command, call.facts, Code.BUDGET_EXCEEDED, refusals, None, enforced=False)
        warnings = json.dumps(refusals)
    return _grant(books, command, call, advice, warnings)


def _choose(
    books: Books, command: Reserve, run: Run | None, asked: Candidate, size: Size
) -> tuple[Candidate, list[Advice]]:
    """Return the call as it would be made, as asked for or with a cheaper model, and what the triggers advise."""
    if not books.config.triggers:
        return asked, []
    advice = _advise(books, command, asked, size)
    step = _applied_downgrade(advice)
    if step is None:
        return asked, advice
    facts = asked.facts._replace(provider=step.to_provider, model=step.to_model)
    cheaper = _price_now(books, facts.provider, facts.model)
    assert cheaper is not None, "a downgrade is only chosen when its price is known"
    return _candidate(books, run, facts, cheaper, size), advice


def _refused(call: Candidate) -> list[tuple[Account, Unit]]:
    refused = []
    for account in call.accounts:
        tokens = call.tokens if account.counts is Counts.ALL else call.uncached_tokens
        unit = account.lacking(tokens, call.nanos, call.calls)
        if unit is not None:
            refused.append((account, unit))
    return refused


def _refusals(call: Candidate, refused: list[tuple[Account, Unit]]) -> list[dict[str, Any]]:
    return [refusal_value(account, unit, call.taken(account, unit)) for account, unit in refused]


def _lendable_calls(call: Candidate, asked: int) -> int:
    """Return for how many such calls a lease may be given: half of what is available, split over the leases."""
    lendable = asked
    for account in call.accounts:
        if is_hard(account):
            for unit in Unit:
                room = _lendable(call, account, unit)
                lendable = lendable if room is None else min(lendable, room)
    return lendable


def _lendable(call: Candidate, account: Account, unit: Unit) -> int | None:
    room = call.room(account, unit)
    return None if room is None else room // (2 * (account.leases + 1))


def _scarce(call: Candidate, account: Account) -> Unit | None:
    """Return the first unit of which an account has too little for a lease of even one call."""
    if not is_hard(account):
        return None
    return next((unit for unit in Unit if _lendable(call, account, unit) == 0), None)


def _candidate(books: Books, run: Run | None, facts: CallFacts, price: Price, size: Size) -> Candidate:
    tokens = size.input_tokens + size.max_output_tokens
    return Candidate(
        facts,
        price,
        books.accounts_for(facts, run),
        tokens,
        tokens - size.cached_input_tokens,
        hold_cost_nanos(price, size),
    )


def _grant(books: Books, command: Reserve, call: Candidate, advice: list[Advice], warnings: str | None) -> Granted:
    books.hold(call.accounts, call.tokens, call.uncached_tokens, call.nanos, call.calls)
    lease = isinstance(command, OpenLease)
    expires_at = books.expiry(command.ttl_seconds)
    reservation = Reservation(
        reservation_id=books.new_id(),
        facts=call.facts,
        requested_model=command.model,
        input_tokens=command.input_tokens,
        cached_input_tokens=command.cached_input_tokens,
        max_output_tokens=command.max_output_tokens,
        held_tokens=call.tokens,
        held_uncached_tokens=call.uncached_tokens,
        held_nanos=call.nanos,
        price_id=call.price.price_id,
        path=[account.account_id for account in call.accounts],
        created_at=books.now,
        expires_at=books.lease_end(call.accounts, expires_at) if lease else expires_at,
        ttl_seconds=command.ttl_seconds,
        directive=_directive(call.facts, command, advice) if advice else None,
        warnings=warnings,
        lease=lease,
        held_calls=call.calls,
        key=command.key,
        fingerprint=command.fingerprint,
    )
    for fired in advice:
        books.writes.firings.append((reservation.reservation_id, call.facts, fired))
    if lease:
        books.lend(reservation, command)
        return Granted(reservation, call.price)
    books.give(reservation)
    return Granted(reservation)


def _deny(
    books: Books, command: Reserve, facts: CallFacts, code: Code, refusals: list[dict[str, Any]], fits: int | None
) -> Denied:
    denial = _note_denial(books, command, facts, code, refusals, fits, enforced=True)
    books.note_key(command, "denial", denial.denial_id)
    return Denied(denial)


def _note_denial(
    books: Books, command: Reserve, facts: CallFacts, code: Code,
    refusals: list[dict[str, Any]], fits: int | None, *, enforced: bool,
) -> Denial:  # fmt: skip
    denial = Denial(
        books.new_id(), facts, code, enforced, refusals,
        command.input_tokens, command.max_output_tokens, fits, books.now,
    )  # fmt: skip
    books.writes.denials.append(denial)
    books.loaded.denials[denial.denial_id] = denial
    return denial


def _price_now(books: Books, provider: str, model: str) -> Price | None:
    prices = books.prices.find(provider, model)
    return prices.at(books.now) if prices is not None else None


def _advise(books: Books, command: Reserve, call: Candidate, size: Size) -> list[Advice]:
    advice = []
    for trigger in books.config.active_triggers:
        evidence = find_evidence(trigger, call.accounts, size, call.nanos)
        if evidence is None:
            continue
        technique = TECHNIQUE_OF[trigger.kind]
        applied = trigger.mode is Mode.APPLY or technique in command.apply
        step = None
        if trigger.kind is TriggerKind.HIGH_COST:
            step = choose_downgrade(trigger, call.facts, size, command.requires)
            price = _price_now(books, step.to_provider, step.to_model) if step else None
            if price is None or hold_cost_nanos(price, size) >= call.nanos:
                step, applied = None, False
        advice.append(Advice(trigger.kind, technique, applied, step, evidence))
    return advice


def _applied_downgrade(advice: list[Advice]) -> Downgrade | None:
    return next((fired.downgrade for fired in advice if fired.applied and fired.downgrade is not None), None)


def _directive(facts: CallFacts, command: Reserve, advice: list[Advice]) -> str:
    compress = any(fired.applied and fired.technique is Technique.AGGRESSIVE_COMPRESSION for fired in advice)
    return json.dumps(
        {
            "model": facts.model,
            "max_output_tokens": command.max_output_tokens,
            "compression": "aggressive" if compress else "none",
            "stop": False,
            "advice": [advice_value(fired) for fired in advice],
        }
    )


def _fitting_output(call: Candidate, size: Size) -> int | None:
    """Return the largest output limit with which the same call would have been admitted, None if none would."""
    rates = call.price.rates_for(size.input_tokens)
    output_rate = max(rates.output, rates.reasoning)
    input_nanos = hold_cost_nanos(call.price, Size(size.input_tokens, size.cached_input_tokens, 0, size.cache_write))
    fitting = size.max_output_tokens
    for account in call.accounts:
        if not is_hard(account):
            continue
        counted = size.input_tokens - (size.cached_input_tokens if account.counts is Counts.UNCACHED else 0)
        if account.lacking(counted + 1, input_nanos, 1) is not None:
            return None
        if account.limit_tokens is not None:
            fitting = min(fitting, account.limit_tokens - account.settled_tokens - account.held_tokens - counted)
        if account.limit_nanos is not None and output_rate:
            room = account.limit_nanos - account.settled_nanos - account.held_nanos - input_nanos
            fitting = min(fitting, affordable_tokens(room, output_rate))
    return fitting or None
