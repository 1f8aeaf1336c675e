"""Decides on triggers: when one fires for a call, which model it proposes, and how a tenant sets one.

Triggers advise on every call. Their technique changes a call only where the tenant's trigger or the call itself says
`apply`. Each kind is set at most once.
"""

from collections.abc import Sequence
from dataclasses import replace

from token_ledger.core.batch.administration import SetTrigger
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.call_facts import NameOf
from token_ledger.core.batch.commands import Reserve
from token_ledger.core.batch.outcomes import TriggerAnswer
from token_ledger.core.decisions.candidate import Candidate, candidate_for, price_now
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Unit
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.hold_cost import Size, unrounded_cost
from token_ledger.core.model.plain_data import trigger_data
from token_ledger.core.model.run import Run
from token_ledger.core.model.subject import EVERYTHING
from token_ledger.core.model.trigger import TECHNIQUE_OF, Advice, Downgrade, Evidence, Mode, Trigger, TriggerKind


def choose_model(
    books: Books, command: Reserve, run: Run | None, asked: Candidate, size: Size
) -> tuple[Candidate, list[Advice]]:
    """Return the call with the model that was asked for or a cheaper one, and what the triggers advise."""
    if not books.config.triggers:
        return asked, []
    advice = find_advice(books, command, asked, size)
    step = applied_downgrade(advice)
    if step is None:
        return asked, advice
    facts = asked.facts._replace(**books.use_model_name(step.to_provider, step.to_model)._asdict())
    cheaper = price_now(books, step.to_provider, step.to_model, command.service_tier)
    assert cheaper is not None, "a downgrade is only chosen when its price is known"
    return candidate_for(books, run, facts, cheaper, size), advice


def find_advice(books: Books, command: Reserve, call: Candidate, size: Size) -> list[Advice]:
    """Return what the triggers that fire advise for a call."""
    advice = []
    for trigger in books.config.active_triggers:
        evidence = find_evidence(trigger, call.accounts, size, call.nanos)
        if evidence is None:
            continue
        technique = TECHNIQUE_OF[trigger.kind]
        applied = trigger.mode is Mode.APPLY or technique in command.apply
        step = None
        if trigger.kind is TriggerKind.HIGH_COST:
            step = choose_downgrade(trigger, call.facts, size, command.requires, books.model_name)
            price = price_now(books, step.to_provider, step.to_model, command.service_tier) if step else None
            if price is None or unrounded_cost(price, size) >= unrounded_cost(call.price, size):
                step, applied = None, False
        advice.append(Advice(trigger.kind, technique, applied, step, evidence))
    return advice


def applied_downgrade(advice: list[Advice]) -> Downgrade | None:
    """Return the step that advice applies to its call, if any does."""
    return next((fired.downgrade for fired in advice if fired.applied and fired.downgrade is not None), None)


def find_evidence(trigger: Trigger, accounts: Sequence[Account], size: Size, nanos: int) -> Evidence | None:
    """Return the strongest evidence that a trigger's condition holds for a call of this size and cost, or None."""
    unit = trigger.unit
    per_call, taken = (
        (trigger.per_call_tokens, size.input_tokens + size.max_output_tokens)
        if unit is Unit.TOKENS
        else (trigger.per_call_nanos, nanos)
    )
    if per_call is not None and taken >= per_call:
        return Evidence("call", EVERYTHING, unit, taken, per_call)
    strongest: Evidence | None = None
    for account in accounts:
        limit, settled, held = account.figures(unit)
        used = settled + held
        if limit is None or used * 100 < trigger.at_percent * limit:
            continue
        # Shares of different limits are compared by cross-multiplication, without floats.
        if strongest is None or used * strongest.limit > strongest.used * limit:
            strongest = Evidence(account.budget, account.subject, unit, used, limit)
    return strongest


def calls_before_evidence(trigger: Trigger, account: Account, taken: int) -> int | None:
    """Return how many calls of a size fit before an account becomes evidence, None if it never does."""
    limit, settled, held = account.figures(trigger.unit)
    if limit is None or not taken:
        return None
    missing = trigger.at_percent * limit - (settled + held) * 100
    return -(-missing // (taken * 100))


def choose_downgrade(
    trigger: Trigger, facts: CallFacts, size: Size, requires: Sequence[str], name_of: NameOf
) -> Downgrade | None:
    """Return the first step from the call's model that can do all that the call requires."""
    for step in trigger.downgrades:
        if (
            stands_in(step, facts, requires, name_of)
            and size.input_tokens + size.max_output_tokens <= step.context_tokens
        ):
            return step
    return None


def stands_in(step: Downgrade, facts: CallFacts, requires: Sequence[str], name_of: NameOf) -> bool:
    """Tell whether a step is one from the call's model to one that can do all that the call requires."""
    return name_of(step.provider, step.model) == (facts.provider, facts.model) and set(requires) <= set(
        step.capabilities
    )


def set_trigger(books: Books, command: SetTrigger) -> TriggerAnswer:
    """Set the trigger of a kind, in place of the one before."""
    trigger = Trigger(
        trigger_id=books.new_id(),
        kind=command.kind,
        at_percent=command.at_percent,
        mode=command.mode,
        per_call_tokens=command.per_call_tokens,
        per_call_nanos=command.per_call_nanos,
        downgrades=command.downgrades,
    )
    before = next((t for t in books.config.triggers if t.kind is trigger.kind), None)
    others = tuple(t for t in books.config.triggers if t.kind is not trigger.kind)
    books.config = replace(books.config, triggers=(*others, trigger))
    books.writes.triggers.append(trigger)
    for step in trigger.downgrades:
        books.use_model_name(step.provider, step.model)
        books.use_model_name(step.to_provider, step.to_model)
    state = None if before is None else trigger_data(before)
    books.audit(command, "trigger.set", trigger.kind.value, state, trigger_data(trigger))
    books.note_key(command, "trigger", trigger.trigger_id)
    return TriggerAnswer(trigger)
