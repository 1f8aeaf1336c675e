"""Decides on what is set up: budgets and triggers (design D4, D17)."""

from dataclasses import replace

from token_ledger.core.administration import ArchiveBudget, ChangeBudget, CreateBudget, SetTrigger
from token_ledger.core.audit import budget_state, trigger_state
from token_ledger.core.books import Books
from token_ledger.core.budget import Budget
from token_ledger.core.limits import take_terms
from token_ledger.core.outcomes import BudgetAnswer, Code, Outcome, Refused, TriggerAnswer
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import Window


def create_budget(books: Books, command: CreateBudget) -> Outcome:
    """Add a budget; calls that are decided after it fall on its accounts."""
    if any(budget.name == command.name for budget in books.config.budgets):
        return Refused(Code.BUDGET_EXISTS, f"there is a budget named {command.name!r} already", "name")
    if command.rollover is not None and command.window in (Window.RUN, Window.TOTAL):
        detail = f"nothing rolls over from a window that does not end ({command.window})"
        return Refused(Code.INVALID_REQUEST, detail, "rollover")
    budget = Budget(
        budget_id=books.new_id(),
        name=command.name,
        selector=command.selector,
        limits=command.limits,
        window=command.window,
        enforcement=command.enforcement,
        counts=command.counts,
        thresholds=command.thresholds,
        rollover=command.rollover,
        created_at=books.now,
    )
    books.config = books.config.with_budgets((*books.config.budgets, budget))
    books.writes.new_budgets.append(budget)
    books.audit(command, "budget.create", str(budget.budget_id), None, budget_state(budget))
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget)


def change_budget(books: Books, command: ChangeBudget) -> Outcome:
    """Change what a budget allows. Open accounts of other batches take it when they are next used."""
    before = _budget_in_use(books, command.budget_id)
    if before is None:
        return _no_budget(command.budget_id)
    after = replace(
        before,
        limits=before.limits if command.limits is None else command.limits.over(before.limits),
        enforcement=command.enforcement or before.enforcement,
        thresholds=before.thresholds if command.thresholds is None else command.thresholds,
        rollover=before.rollover if command.rollover is None else command.rollover,
    )
    if after.rollover is not None and after.window in (Window.RUN, Window.TOTAL):
        detail = f"nothing rolls over from a window that does not end ({after.window})"
        return Refused(Code.INVALID_REQUEST, detail, "rollover")
    rest = tuple(after if budget is before else budget for budget in books.config.budgets)
    books.config = books.config.with_budgets(rest)
    books.writes.changed_budgets.append(after)
    for account in books.accounts_of(after.budget_id):
        take_terms(books, account, after)
    books.audit(command, "budget.change", str(after.budget_id), budget_state(before), budget_state(after))
    books.note_key(command, "budget", after.budget_id)
    return BudgetAnswer(after)


def archive_budget(books: Books, command: ArchiveBudget) -> Outcome:
    """Take a budget out of use; holds on its accounts still settle there."""
    budget = _budget_in_use(books, command.budget_id)
    if budget is None:
        return _no_budget(command.budget_id)
    rest = tuple(b for b in books.config.budgets if b is not budget)
    books.config = books.config.with_budgets(rest)
    books.writes.archived_budgets.append(budget)
    books.loaded.archived_budgets[budget.budget_id] = budget
    books.audit(command, "budget.archive", str(budget.budget_id), budget_state(budget), None)
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
    before = next((t for t in books.config.triggers if t.kind is trigger.kind), None)
    others = tuple(t for t in books.config.triggers if t.kind is not trigger.kind)
    books.config = replace(books.config, triggers=(*others, trigger))
    books.writes.triggers.append(trigger)
    state = None if before is None else trigger_state(before)
    books.audit(command, "trigger.set", trigger.kind.value, state, trigger_state(trigger))
    books.note_key(command, "trigger", trigger.trigger_id)
    return TriggerAnswer(trigger)


def _budget_in_use(books: Books, budget_id: int) -> Budget | None:
    return books.config.budgets_by_id.get(budget_id)


def _no_budget(budget_id: int) -> Refused:
    return Refused(Code.BUDGET_NOT_FOUND, f"there is no budget {budget_id} in use", "budget_id")
