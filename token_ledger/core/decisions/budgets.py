"""Decides on budgets: creating, changing, replacing and archiving them."""

from collections.abc import Iterable
from dataclasses import replace

from token_ledger.core.batch import administration
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.outcomes import BudgetAnswer, Code, Refused, missing
from token_ledger.core.decisions.limits import take_terms
from token_ledger.core.model.budget import NO_LIMITS, Budget, Unassigned, overrides_in_books
from token_ledger.core.model.plain_data import budget_data
from token_ledger.core.model.selector import (
    ANY,
    LONGEST_SUBJECT_BYTES,
    any_dimensions,
    in_books,
    longest_subject_bytes,
)
from token_ledger.core.model.window import Window


def create_budget(books: Books, command: administration.CreateBudget) -> BudgetAnswer | Refused:
    """Add a budget; calls that are decided after it fall on its accounts."""
    budget = _new_budget(books, command)
    if refusal := _name_taken(books.config.budgets, command.name) or _contradiction(budget):
        return refusal
    _add_budget(books, budget)
    books.audit(command, "budget.create", str(budget.budget_id), None, budget_data(budget))
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget)


def replace_budget(books: Books, command: administration.ReplaceBudget) -> BudgetAnswer | Refused:
    """Add a budget and archive the one that it replaces; at no instant is there neither."""
    before = _budget_in_use(books, command.replaced_id)
    if isinstance(before, Refused):
        return before
    others = [budget for budget in books.config.budgets if budget is not before]
    after = _new_budget(books, command)
    if refusal := _name_taken(others, command.name) or _contradiction(after):
        return refusal
    _take_out_of_use(books, before)
    _add_budget(books, after)
    replaced = {**budget_data(before), "budget_id": str(before.budget_id)}
    books.audit(command, "budget.replace", str(after.budget_id), replaced, budget_data(after))
    books.note_key(command, "budget", after.budget_id)
    return BudgetAnswer(after)


def _new_budget(books: Books, command: administration.CreateBudget) -> Budget:
    """Return the budget that a command asks for; it takes its id only when it is added."""
    selector, named = in_books(command.selector, books.model_name)
    return Budget(
        budget_id=books.next_id,
        name=command.name,
        selector=selector,
        limits=command.limits,
        window=command.window,
        enforcement=command.enforcement,
        counts=command.counts,
        thresholds=command.thresholds,
        rollover=command.rollover,
        created_at=books.now,
        overrides=overrides_in_books(command.selector, command.overrides, books.model_name),
        unassigned=command.unassigned,
        named=named,
    )


def _add_budget(books: Books, budget: Budget) -> None:
    assert books.new_id() == budget.budget_id, "nothing takes an id between making a budget and adding it"
    books.config = books.config.with_budgets((*books.config.budgets, budget))
    books.writes.new_budgets.append(budget)
    books.put_in_force(budget)


def change_budget(books: Books, command: administration.ChangeBudget) -> BudgetAnswer | Refused:
    """Change what a budget allows. Open accounts that this batch has not loaded take it over when next used."""
    before = _budget_in_use(books, command.budget_id)
    if isinstance(before, Refused):
        return before
    after = _changed_budget(books, before, command)
    if refusal := _contradiction(after):
        return refusal
    rest = tuple(after if budget is before else budget for budget in books.config.budgets)
    books.config = books.config.with_budgets(rest)
    books.writes.changed_budgets.append(after)
    if after.terms(books.now) != before.terms(books.now):
        books.put_in_force(after, books.config.terms_of(before))
    for account in books.accounts_of(after.budget_id):
        take_terms(books, account, after)
    books.audit(command, "budget.change", str(after.budget_id), budget_data(before), budget_data(after))
    books.note_key(command, "budget", after.budget_id)
    return BudgetAnswer(after)


def _changed_budget(books: Books, before: Budget, command: administration.ChangeBudget) -> Budget:
    overrides = before.overrides
    if command.overrides is not None:
        overrides = overrides_in_books(before.given_selector, command.overrides, books.model_name)
    limits, cap = command.limits or NO_LIMITS, command.rollover or NO_LIMITS
    rollover = cap.over(before.rollover or NO_LIMITS).without(command.removed_rollover)
    return replace(
        before,
        limits=limits.over(before.limits).without(command.removed_limits),
        enforcement=command.enforcement or before.enforcement,
        thresholds=before.thresholds if command.thresholds is None else command.thresholds,
        rollover=None if rollover == NO_LIMITS else rollover,
        overrides=overrides,
        unassigned=command.unassigned or before.unassigned,
    )


def archive_budget(books: Books, command: administration.ArchiveBudget) -> BudgetAnswer | Refused:
    """Take a budget out of use; holds on its accounts still settle there."""
    budget = _budget_in_use(books, command.budget_id)
    if isinstance(budget, Refused):
        return budget
    _take_out_of_use(books, budget)
    books.audit(command, "budget.archive", str(budget.budget_id), budget_data(budget), None)
    books.note_key(command, "budget", budget.budget_id)
    return BudgetAnswer(budget, archived=True)


def _take_out_of_use(books: Books, budget: Budget) -> None:
    rest = tuple(b for b in books.config.budgets if b is not budget)
    books.config = books.config.with_budgets(rest)
    books.writes.archived_budgets.append(budget)
    books.loaded.archived_budgets[budget.budget_id] = budget


def _budget_in_use(books: Books, budget_id: int) -> Budget | Refused:
    return books.config.budgets_by_id.get(budget_id) or missing(Code.BUDGET_NOT_FOUND, "budget", budget_id)


def _name_taken(budgets: Iterable[Budget], name: str) -> Refused | None:
    if any(budget.name == name for budget in budgets):
        detail = f"there is a budget named {name!r} already; choose another name, or change that budget"
        return Refused(Code.BUDGET_EXISTS, detail, "name")
    return None


def _contradiction(budget: Budget) -> Refused | None:
    """Return the refusal of a budget whose fields are valid by themselves but not together."""
    return (
        _without_limit(budget)
        or _rolls_nowhere(budget)
        or _overrides_nobody(budget)
        or _splits_nothing(budget)
        or (_subject_too_long(budget))
    )


def _invalid(detail: str, field: str) -> Refused:
    return Refused(Code.INVALID_REQUEST, detail, field)


def _without_limit(budget: Budget) -> Refused | None:
    if budget.limits != NO_LIMITS:
        return None
    detail = (
        "a budget needs a limit in tokens, cost or calls, and this leaves none; to be rid of it, archive the budget"
    )
    return _invalid(detail, "limits")


def _rolls_nowhere(budget: Budget) -> Refused | None:
    if budget.rollover is None or budget.window not in (Window.RUN, Window.TOTAL):
        return None
    detail = (
        f"a window of {budget.window} does not end, so nothing rolls over; leave rollover out or use another window"
    )
    return _invalid(detail, "rollover")


def _overrides_nobody(budget: Budget) -> Refused | None:
    if not budget.overrides:
        return None
    dimensions = any_dimensions(budget.selector)
    if not dimensions:
        detail = (
            'overrides name subjects of a budget with an account per value; use "*" in its selector, or leave them out'
        )
        return _invalid(detail, "overrides")
    seen = set()
    for subject, _ in budget.overrides:
        values = dict(subject.pairs)
        if tuple(values) != dimensions or any(ANY in value for value in values.values()):
            detail = f"{subject.text} is no subject of this budget; name one value each of {', '.join(dimensions)}"
            return _invalid(detail, "overrides")
        if subject in seen:
            return _invalid(f"{subject.text} has two overrides; give each subject one", "overrides")
        seen.add(subject)
    return None


def _splits_nothing(budget: Budget) -> Refused | None:
    if budget.unassigned is Unassigned.SHARED or "cost_center" in any_dimensions(budget.selector):
        return None
    detail = 'unassigned is about a budget per cost center; select cost_center "*", or leave unassigned out'
    return _invalid(detail, "unassigned")


def _subject_too_long(budget: Budget) -> Refused | None:
    dimensions = budget.subject_dimensions()
    length = longest_subject_bytes(dimensions)
    if length <= LONGEST_SUBJECT_BYTES:
        return None
    most = next(
        n for n in range(len(dimensions), -1, -1) if longest_subject_bytes(dimensions[:n]) <= LONGEST_SUBJECT_BYTES
    )
    detail = (
        f"an account for every {', '.join(dimensions)} could have a name of {length:,} bytes, and at most"
        f" {LONGEST_SUBJECT_BYTES:,} can be stored; at most {most} of these can be open, so give names for the others"
    )
    return _invalid(detail, "selector")
