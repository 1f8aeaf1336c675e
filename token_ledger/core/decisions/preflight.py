"""Decides whether planned calls would fit, in books that are thrown away afterwards."""

from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.decisions.admission import reserve
from token_ledger.core.decisions.candidate import candidate_for, price_to_hold, size_of
from token_ledger.core.decisions.runs import stopped
from token_ledger.core.decisions.triggers import calls_before_evidence, choose_model, find_evidence
from token_ledger.core.model.budget import Unit
from token_ledger.core.model.hold_cost import hold_cost_nanos
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.reservation import Reservation


def preflight(books: Books, command: commands.Preflight) -> outcomes.Outcome:
    """Reserve the calls one after the other, and tell how many fit and what stops the first that does not.

    Calls of one kind are decided together for as long as the decision stays the same, so the work does not grow with
    their number: nothing else can happen in the process meanwhile.
    """
    refused = stopped(books)
    if refused is not None:
        return refused
    scratch = books.scratch()
    fits: list[int] = []
    first: outcomes.Denied | outcomes.Refused | None = None
    warnings: tuple[Refusal, ...] = ()
    for call, count in command.calls:
        fitting = 0
        while fitting < count:
            outcome = reserve(scratch, call)
            if not isinstance(outcome, outcomes.Granted):
                first = first or outcome
                break
            warnings = warnings or outcome.reservation.warnings
            fitting += 1
            fitting += _repeat(scratch, call, outcome.reservation, count - fitting, warned=bool(warnings))
        fits.append(fitting)
    tokens = sum((call.input_tokens + call.max_output_tokens) * count for call, count in command.calls)
    nanos = sum(_worst_case_nanos(books, call) * count for call, count in command.calls)
    asked = tuple(count for _, count in command.calls)
    return outcomes.PreflightAnswer(tuple(fits), asked, tokens, nanos, first, warnings)


def _repeat(books: Books, command: commands.Reserve, given: Reservation, most: int, *, warned: bool) -> int:
    """Hold as many more such calls as are decided like the one that a hold was given for; return how many.

    Holds only fill accounts up, so a decision stays the same until an account is full or a trigger begins to fire.
    """
    run = None if command.run_id is None else books.loaded.runs[command.run_id]
    price = price_to_hold(books, command)
    assert price is not None, "a hold was given for such a call"
    size = size_of(books, command)
    facts = given.facts._replace(**books.model_name(command.provider, command.model)._asdict())
    asked = candidate_for(books, run, facts, price, size)
    call, _ = choose_model(books, command, run, asked, size)
    if call.facts != given.facts:
        return 0
    told = [account for account in call.accounts if account.is_hard or not warned]
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


def _worst_case_nanos(books: Books, call: commands.Reserve) -> int:
    price = price_to_hold(books, call)
    return 0 if price is None else hold_cost_nanos(price, size_of(books, call))
