"""Decides on what is set up: budgets and triggers (design D4, D17)."""

from collections.abc import Iterable
from dataclasses import replace

from token_ledger.core.administration import ArchiveBudget, ChangeBudget, CreateBudget, ReplaceBudget, SetTrigger
from token_ledger.core.audit import budget_state, trigger_state
from token_ledger.core.books import Books
from token_ledger.core.budget import Budget, Limits
from token_ledger.core.limits import take_terms
from token_ledger.core.outcomes import BudgetAnswer, Code, Outcome, Refused, TriggerAnswer
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import Window


def create_budget(books: Books, command: CreateBudget) -> Outcome:
    """Add a budget; calls that are decided after it fall on its accounts."""
    if refusal := _name_taken(books.config.budgets, command.name) or _rolls_nowhere(command.rollover, command.window):
        return refusal
    budget = _add_budget(books, command)
    books.audit(command, "budget.create", str(budget.budget_id), None, budget_state(budget))
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget)


def replace_budget(books: Books, command: ReplaceBudget) -> Outcome:
    """Add a budget and take the one that it replaces out of use; at no instant is there neither."""
    before = _budget_in_use(books, command.replaced_id)
    if before is None:
        return _no_budget(command.replaced_id)
    others = [budget for budget in books.config.budgets if budget is not before]
    if refusal := _name_taken(others, command.name) or _rolls_nowhere(command.rollover, command.window):
        return refusal
    _take_out_of_use(books, before)
    after = _add_budget(books, command)
    replaced = {**budget_state(before), "budget_id": str(before.budget_id)}
    books.audit(command, "budget.replace", str(after.budget_id), replaced, budget_state(after))
    books.note_key(command, "budget", after.budget_id)
    return BudgetAnswer(after)


def _add_budget(books: Books, command: CreateBudget) -> Budget:
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
    return budget


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
    if refusal := _rolls_nowhere(after.rollover, after.window):
        return refusal
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
    _take_out_of_use(books, budget)
    books.audit(command, "budget.archive", str(budget.budget_id), budget_state(budget), None)
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget, archived=True)


def _take_out_of_use(books: Books, budget: Budget) -> None:
    rest = tuple(b for b in books.config.budgets if b is not budget)
    books.config = books.config.with_budgets(rest)
    books.writes.archived_budgets.append(budget)
    books.loaded.archived_budgets[budget.budget_id] = budget


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


def _name_taken(budgets: Iterable[Budget], name: str) -> Refused | None:
    if any(budget.name == name for budget in budgets):
        return Refused(Code.BUDGET_EXISTS, f"there is a budget named {name!r} already", "name")
    return None


def _rolls_nowhere(rollover: Limits | None, window: Window) -> Refused | None:
    if rollover is not None and window in (Window.RUN, Window.TOTAL):
        detail = f"nothing rolls over from a window that does not end ({window})"
        return Refused(Code.INVALID_REQUEST, detail, "rollover")
    return None


def _no_budget(budget_id: int) -> Refused:
    return Refused(Code.BUDGET_NOT_FOUND, f"there is no budget {budget_id} in use", "budget_id")
