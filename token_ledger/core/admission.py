"""Decides whether a call may be made: all accounts on its path have room, or none is touched (design D3, D4, D18)."""

import json
from collections.abc import Sequence

from token_ledger.core.books import Books, is_hard
from token_ledger.core.budget import Account, Counts, Unit
from token_ledger.core.commands import Record, Reserve
from token_ledger.core.holds import UNASSIGNED
from token_ledger.core.money import affordable_tokens
from token_ledger.core.outcomes import Code, Denial, Denied, Granted, Outcome, Refused, refusal_value
from token_ledger.core.price import Price, hold_cost_nanos
from token_ledger.core.reservation import CallFacts, Reservation
from token_ledger.core.run import Run, RunState
from token_ledger.core.trigger import (
    TECHNIQUE_OF,
    Advice,
    CallSize,
    Downgrade,
    Mode,
    Technique,
    Trigger,
    TriggerKind,
    advice_value,
    choose_downgrade,
    find_evidence,
    is_cheaper,
)  # fmt: skip


def reserve(books: Books, command: Reserve) -> Outcome:
    """Hold what a call may take on every account that it falls on, or deny it and hold nothing."""
    run = None
    if command.run_id is not None:
        run = books.loaded.runs.get(command.run_id)
        if run is None:
            return Refused(Code.RUN_NOT_FOUND, f"there is no run {command.run_id}", "run_id")
        if run.state is not RunState.OPEN:
            return Refused(Code.RUN_NOT_OPEN, f"the run is {run.state}", "run_id", extra={"run_state": run.state.value})
    facts = _facts(command, run)
    price = _price_now(books, facts.provider, facts.model)
    if price is None:
        return Refused(
            Code.UNKNOWN_MODEL,
            f"no price is known for model {command.model!r} of provider {command.provider!r}",
            "model",
        )
    if run is not None and run.strict and command.agent_type not in run.allocated:
        return _deny(books, command, facts, Code.NOT_ALLOCATED, [], None, enforced=True)
    return _admit(books, command, facts, run, price)


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


def _admit(books: Books, command: Reserve, facts: CallFacts, run: Run | None, price: Price) -> Outcome:
    accounts = books.accounts_for(facts, run)
    nanos = hold_cost_nanos(price, command.input_tokens, command.cached_input_tokens, command.max_output_tokens)
    advice: list[Advice] = []
    if books.config.triggers:
        advice = _advise(books, command, accounts, nanos)
        step = _applied_downgrade(advice)
        if step is not None:
            facts = facts._replace(provider=step.to_provider, model=step.to_model)
            cheaper = _price_now(books, facts.provider, facts.model)
            assert cheaper is not None, "a downgrade is only chosen when its price is known"
            price = cheaper
            accounts = books.accounts_for(facts, run)
            nanos = hold_cost_nanos(price, command.input_tokens, command.cached_input_tokens, command.max_output_tokens)
    tokens = command.input_tokens + command.max_output_tokens
    uncached = tokens - command.cached_input_tokens
    refusals: list[tuple[Account, Unit]] = []
    for account in accounts:
        unit = account.lacking(tokens if account.counts is Counts.ALL else uncached, nanos, 1)
        if unit is not None:
            refusals.append((account, unit))
    warnings = None
    if refusals:
        values = [
            refusal_value(account, unit, _requested(account, unit, tokens, uncached, nanos))
            for account, unit in refusals
        ]
        if any(is_hard(account) for account, _ in refusals):
            fits = _fitting_output(accounts, command, price)
            return _deny(books, command, facts, Code.BUDGET_EXCEEDED, values, fits, enforced=True)
        _note_denial(books, command, facts, Code.BUDGET_EXCEEDED, values, None, enforced=False)
        warnings = json.dumps(values)
    return _grant(books, command, facts, accounts, price, tokens, uncached, nanos, advice, warnings)


def _grant(
    books: Books, command: Reserve, facts: CallFacts, accounts: list[Account], price: Price,
    tokens: int, uncached: int, nanos: int, advice: list[Advice], warnings: str | None,
) -> Granted:  # fmt: skip
    reservation_id = books.new_id()
    books.hold(accounts, tokens, uncached, nanos, 1)
    reservation = Reservation(
        reservation_id=reservation_id,
        facts=facts,
        requested_model=command.model,
        input_tokens=command.input_tokens,
        cached_input_tokens=command.cached_input_tokens,
        max_output_tokens=command.max_output_tokens,
        held_tokens=tokens,
        held_uncached_tokens=uncached,
        held_nanos=nanos,
        price_id=price.price_id,
        path=[account.account_id for account in accounts],
        created_at=books.now,
        expires_at=books.expiry(command.ttl_seconds),
        ttl_seconds=command.ttl_seconds,
        directive=_directive(facts, command, advice) if advice else None,
        warnings=warnings,
        key=command.key,
        fingerprint=command.fingerprint,
    )
    books.writes.firings.extend((reservation_id, facts, fired) for fired in advice)
    books.give(reservation)
    return Granted(reservation)


def _deny(
    books: Books, command: Reserve, facts: CallFacts, code: Code,
    refusals: list[dict[str, object]], fits: int | None, *, enforced: bool,
) -> Denied:  # fmt: skip
    denial = _note_denial(books, command, facts, code, refusals, fits, enforced=enforced)
    books.note_key(command, "denial", denial.denial_id)
    return Denied(denial)


def _note_denial(
    books: Books, command: Reserve, facts: CallFacts, code: Code,
    refusals: list[dict[str, object]], fits: int | None, *, enforced: bool,
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


def _advise(books: Books, command: Reserve, accounts: list[Account], nanos: int) -> list[Advice]:
    size = CallSize(
        command.provider, command.model, command.input_tokens, command.cached_input_tokens,
        command.max_output_tokens, nanos, command.requires, command.apply,
    )  # fmt: skip
    advice = []
    for trigger in books.config.triggers:
        if trigger.mode is Mode.OFF:
            continue
        evidence = find_evidence(trigger, accounts, size)
        if evidence is None:
            continue
        technique = TECHNIQUE_OF[trigger.kind]
        wanted = trigger.mode is Mode.APPLY or technique in size.switched_on
        step = None
        if trigger.kind is TriggerKind.HIGH_COST:
            step = choose_downgrade(trigger, size)
            price = _price_now(books, step.to_provider, step.to_model) if step else None
            if price is None or not is_cheaper(size, price):
                step, wanted = None, False
        advice.append(Advice(trigger.kind, technique, wanted, step, evidence))
    return advice


def _applied_downgrade(advice: list[Advice]) -> Downgrade | None:
    for fired in advice:
        if fired.applied and fired.downgrade is not None:
            return fired.downgrade
    return None


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


def _requested(account: Account, unit: Unit, tokens: int, uncached: int, nanos: int) -> int:
    if unit is Unit.TOKENS:
        return tokens if account.counts is Counts.ALL else uncached
    return nanos if unit is Unit.COST else 1


def _fitting_output(accounts: list[Account], command: Reserve, price: Price) -> int | None:
    """Return the largest output limit with which the same call would have been admitted, None if none would."""
    rates = price.rates_for(command.input_tokens)
    output_rate = max(rates.output, rates.reasoning)
    input_nanos = hold_cost_nanos(price, command.input_tokens, command.cached_input_tokens, 0)
    fitting = command.max_output_tokens
    for account in accounts:
        if not is_hard(account):
            continue
        cached = command.cached_input_tokens if account.counts is Counts.UNCACHED else 0
        if account.lacking(command.input_tokens - cached + 1, input_nanos, 1) is not None:
            return None
        if account.limit_tokens is not None:
            room = account.limit_tokens - account.settled_tokens - account.held_tokens
            fitting = min(fitting, room - command.input_tokens + cached)
        if account.limit_nanos is not None and output_rate:
            room = account.limit_nanos - account.settled_nanos - account.held_nanos
            fitting = min(fitting, affordable_tokens(room - input_nanos, output_rate))
    return fitting or None
