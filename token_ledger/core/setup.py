"""Decides on what is set up: runs with their allocations, budgets, triggers (design D4, D7, D17)."""

from dataclasses import replace

from token_ledger.core.allocation import InfeasibleAllocation, allocate
from token_ledger.core.books import Books
from token_ledger.core.budget import Account, AccountKey, Budget, Counts, Enforcement, Limits
from token_ledger.core.commands import ArchiveBudget, CreateBudget, EndRun, OpenRun, SetTrigger
from token_ledger.core.outcomes import BudgetAnswer, Code, Outcome, Refused, RunAnswer, TriggerAnswer
from token_ledger.core.run import Run, RunState, allocation_account_key, run_account_key
from token_ledger.core.trigger import Trigger


def open_run(books: Books, command: OpenRun) -> Outcome:
    """Start a run and make its accounts: one with its own limits, one per agent type with its share."""
    allocated: dict[str, int] = {}
    if command.shares:
        if command.limits.tokens is None:
            return Refused(
                Code.INFEASIBLE_ALLOCATION, "an allocation splits limits.tokens, which is missing", "limits.tokens"
            )
        try:
            allocated = allocate(command.limits.tokens, command.shares)
        except InfeasibleAllocation as error:
            return Refused(Code.INFEASIBLE_ALLOCATION, str(error), "allocation")
    run = Run(
        run_id=books.new_id(),
        user=command.user,
        cost_center=command.cost_center,
        external_id=command.external_id,
        strict=command.strict,
        limits=command.limits,
        allocated=allocated,
        created_at=books.now,
    )
    accounts = [_run_account(books, "run", run_account_key(run.run_id), command.limits)]
    accounts += [
        _run_account(books, "allocation", allocation_account_key(run.run_id, agent_type), Limits(tokens=tokens))
        for agent_type, tokens in allocated.items()
    ]
    books.writes.new_runs.append(run)
    books.loaded.runs[run.run_id] = run
    books.note_key(command, "run", run.run_id)
    return RunAnswer(run, tuple(accounts))


def end_run(books: Books, command: EndRun) -> Outcome:
    """Close or cancel a run. Ending it again changes nothing, but a closed run can still be cancelled."""
    run = books.loaded.runs.get(command.run_id)
    if run is None:
        return Refused(Code.RUN_NOT_FOUND, f"there is no run {command.run_id}", "run_id")
    if run.state is RunState.OPEN or (run.state is RunState.CLOSED and command.state is RunState.CANCELLED):
        run.state = command.state
        run.ended_at = run.ended_at or books.now
        books.writes.ended_runs.append(run)
    books.note_key(command, "run", run.run_id)
    return RunAnswer(replace(run))


def create_budget(books: Books, command: CreateBudget) -> Outcome:
    """Add a budget; calls that are decided after it fall on its accounts."""
    if any(budget.name == command.name for budget in books.config.budgets):
        return Refused(Code.BUDGET_EXISTS, f"there is a budget named {command.name!r} already", "name")
    budget = Budget(
        budget_id=books.new_id(),
        name=command.name,
        selector=command.selector,
        limits=command.limits,
        window=command.window,
        enforcement=command.enforcement,
        counts=command.counts,
    )
    books.config = replace(books.config, budgets=(*books.config.budgets, budget), _matches={})
    books.writes.new_budgets.append(budget)
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget)


def archive_budget(books: Books, command: ArchiveBudget) -> Outcome:
    """Take a budget out of use; holds on its accounts still settle there."""
    budget = next((b for b in books.config.budgets if b.budget_id == command.budget_id), None)
    if budget is None:
        return Refused(Code.BUDGET_NOT_FOUND, f"there is no budget {command.budget_id} in use", "budget_id")
    rest = tuple(b for b in books.config.budgets if b is not budget)
    books.config = replace(books.config, budgets=rest, _matches={})
    books.writes.archived_budgets.append(budget)
    books.loaded.archived_budgets[budget.budget_id] = budget
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget, archived=True)


def set_trigger(books: Books, command: SetTrigger) -> Outcome:
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
    others = tuple(t for t in books.config.triggers if t.kind is not trigger.kind)
    books.config = replace(books.config, triggers=(*others, trigger))
    books.writes.triggers.append(trigger)
    books.note_key(command, "trigger", trigger.trigger_id)
    return TriggerAnswer(trigger)


def _run_account(books: Books, name: str, key: AccountKey, limits: Limits) -> Account:
    budget_id, subject, window_start = key
    account = Account(
        books.new_id(), budget_id, name, subject, window_start, None, Enforcement.HARD, Counts.ALL, limits
    )
    return books.add_account(account)
