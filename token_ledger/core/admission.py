"""Decides whether a call may be made: all accounts on its path have room, or none is touched (design D3, D4, D18)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from token_ledger.core.books import Books, is_hard
from token_ledger.core.budget import Account, Counts, Unit
from token_ledger.core.commands import Record, Reserve
from token_ledger.core.holds import UNASSIGNED
from token_ledger.core.money import affordable_tokens
from token_ledger.core.outcomes import Code, Denial, Denied, Granted, Outcome, Refused, refusal_value
from token_ledger.core.price import Price, Size, hold_cost_nanos
from token_ledger.core.reservation import CallFacts, Reservation
from token_ledger.core.run import Run, RunState
from token_ledger.core.trigger import (
    TECHNIQUE_OF,
    Advice,
    Downgrade,
    Mode,
    Technique,
    Trigger,
    TriggerKind,
    advice_value,
    choose_downgrade,
    find_evidence,
)  # fmt: skip


@dataclass(slots=True)
class Candidate:
    """A call as it might be made: with which model, at which price, on which accounts, taking how much of each."""

    facts: CallFacts
    price: Price
    accounts: list[Account]
    tokens: int
    uncached_tokens: int
    nanos: int

    def taken(self, account: Account, unit: Unit) -> int:
        """Return what the call would take of an account."""
        if unit is Unit.COST:
            return self.nanos
        if unit is Unit.CALLS:
            return 1
        return self.tokens if account.counts is Counts.ALL else self.uncached_tokens


def reserve(books: Books, command: Reserve) -> Outcome:
    """Hold what a call may take on every account that it falls on, or deny it and hold nothing."""
    run = None
    if command.run_id is not None:
        run = books.loaded.runs.get(command.run_id)
        if run is None:
            return Refused(Code.RUN_NOT_FOUND, f"there is no run {command.run_id}", "run_id")
        if run.state is not RunState.OPEN:
            state = {"run_state": run.state.value}
            return Refused(Code.RUN_NOT_OPEN, f"the run is {run.state}", "run_id", extra=state)
    facts = _facts(command, run)
    price = _price_now(books, facts.provider, facts.model)
    if price is None:
        detail = f"no price is known for model {command.model!r} of provider {command.provider!r}"
        return Refused(Code.UNKNOWN_MODEL, detail, "model")
    if run is not None and run.strict and command.agent_type not in run.allocated:
        return _deny(books, command, facts, Code.NOT_ALLOCATED, [], None)
    return _admit(books, command, run, facts, price)


def candidate_facts(triggers: Sequence[Trigger], command: Reserve | Record, run: Run | None) -> list[CallFacts]:
    """Return the facts that a call may end up with: as asked, and with each model it may be downgraded to."""
    facts = _facts(command, run)
    if not triggers:
        return [facts]
    return [facts] + [
        facts._replace(provider=step.to_provider, model=step.to_model)
        for trigger in triggers
        if trigger.mode is not Mode.OFF
        for step in trigger.downgrades
        if step.provider == facts.provider and step.model == facts.model
    ]


def _admit(books: Books, command: Reserve, run: Run | None, facts: CallFacts, price: Price) -> Outcome:
    size = Size(command.input_tokens, command.cached_input_tokens, command.max_output_tokens, command.cache_write)
    call = _candidate(books, run, facts, price, size)
    advice: list[Advice] = []
    if books.config.triggers:
        advice = _advise(books, command, call, size)
        step = _applied_downgrade(advice)
        if step is not None:
            facts = facts._replace(provider=step.to_provider, model=step.to_model)
            cheaper = _price_now(books, facts.provider, facts.model)
            assert cheaper is not None, "a downgrade is only chosen when its price is known"
            call = _candidate(books, run, facts, cheaper, size)
    refused = []
    for account in call.accounts:
        tokens = call.tokens if account.counts is Counts.ALL else call.uncached_tokens
        unit = account.lacking(tokens, call.nanos, 1)
        if unit is not None:
            refused.append((account, unit))
    warnings = None
    if refused:
        refusals = [refusal_value(account, unit, call.taken(account, unit)) for account, unit in refused]
        if any(is_hard(account) for account, _ in refused):
            fits = _fitting_output(call, size)
            return _deny(books, command, call.facts, Code.BUDGET_EXCEEDED, refusals, fits)
        _note_denial(books, command, call.facts, Code.BUDGET_EXCEEDED, refusals, None, enforced=False)
        warnings = json.dumps(refusals)
    return _grant(books, command, call, advice, warnings)


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
    books.hold(call.accounts, call.tokens, call.uncached_tokens, call.nanos, 1)
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
        expires_at=books.expiry(command.ttl_seconds),
        ttl_seconds=command.ttl_seconds,
        directive=_directive(call.facts, command, advice) if advice else None,
        warnings=warnings,
        key=command.key,
        fingerprint=command.fingerprint,
    )
    for fired in advice:
        books.writes.firings.append((reservation.reservation_id, call.facts, fired))
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


def _facts(command: Reserve | Record, run: Run | None) -> CallFacts:
    return CallFacts(
        user=run.user if run else command.user or "",
        cost_center=run.cost_center if run else command.cost_center or UNASSIGNED,
        agent_type=command.agent_type,
        request_type=command.request_type,
        provider=command.provider,
        model=command.model,
        run_id=command.run_id,
        tool=command.tool,
        tags=command.tags,
    )


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
