"""Decides on renaming a model: which names lead to its new one from now on, and which accounts go along.

A name that callers use may leave the others that lead to the same model. If none is left, the model's name is gone:
then what is on its accounts of windows under way goes to those of the new name. Holds, events and ended windows keep
what they were decided with.
"""

from collections.abc import Iterable
from dataclasses import replace

from token_ledger.core.batch.administration import RenameModel
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import AskedName
from token_ledger.core.batch.outcomes import Changed, Code, Refused
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Budget
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.run import RunState
from token_ledger.core.model.selector import ANY, Wanted, selects
from token_ledger.core.model.subject import Subject

MOST_CARRIED = 5_000
"""How many accounts one change takes along: a batch has ids for some 65,000 rows."""


def rename_model(books: Books, command: RenameModel) -> Changed | Refused:
    """Let a name of a model, or all of them, lead to another name in the books from now on."""
    old = books.model_name(*command.asked)
    new = _new_name(books, command.becomes, old)
    if new == old:
        detail = (
            f"{_shown(command.asked)} and {_shown(command.becomes)} are both {_shown(old)} in the books, so nothing"
            " changes; check both names"
        )
        return Refused(Code.INVALID_REQUEST, detail, "becomes")
    spellings = {**books.loaded.spellings, **books.writes.model_names}
    moving, is_gone = _moving(spellings, command.asked, old)
    spellings.update(dict.fromkeys(moving, new))
    carried: list[tuple[Account, Subject]] = []
    if is_gone:
        if refusal := _still_selected(books.config.budgets, old, new):
            return refusal
        carried = _carried(books, old, new, set(spellings.values()))
        if refusal := _too_much(books, carried):
            return refusal
    before, after = old._asdict(), {"reason": command.reason, "names": len(moving), "accounts": len(carried)}
    entry = books.audit(command, "model.rename", _shown(command.asked), before, {**new._asdict(), **after})
    for asked in moving:
        books.name_model(asked, new, entry.audit_id)
    books.config = replace(books.config, renamed={**books.config.renamed, **dict.fromkeys(moving, new)})
    books.loaded.booked_models = [*dict.fromkeys(spellings.values())]
    for account, subject in carried:
        budget = books.config.budgets_by_id[account.budget_id]
        books.carry(account, books.account_of((budget, subject)))
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def _new_name(books: Books, becomes: ModelName, old: ModelName) -> ModelName:
    """Return the name in the books of what a model becomes, which is the old one if nothing changes."""
    named = books.model_name(*becomes)
    if named != old:
        return named
    # Another name of the same model: one that it had before, or one that the price book has for it by now.
    name = books.prices.name_of(*becomes)
    return name if books.model_name(*name) == old else old


def _moving(
    spellings: dict[AskedName, ModelName], asked: AskedName, old: ModelName
) -> tuple[list[AskedName], bool]:  # fmt: skip
    """Return the names that lead elsewhere from now on, and whether none is left that leads to the old name."""
    leading = [each for each, name in spellings.items() if name == old]
    if asked != old and leading != [asked]:
        return [asked], False
    return [*dict.fromkeys((*leading, asked, old))], True


def _still_selected(budgets: Iterable[Budget], old: ModelName, new: ModelName) -> Refused | None:
    """Return the refusal of a name that budgets select, which would have none of the model's calls from now on."""
    found = [budget.name for budget in budgets if _misses(budget, old, new)]
    if not found:
        return None
    detail = (
        f"budgets in use select {_shown(old)}, or limit it by itself, and not {_shown(new)}:"
        f" {', '.join(map(repr, found))}; replace each by one with the new name, or archive it, then rename"
    )
    return Refused(Code.INVALID_REQUEST, detail, "asked")


def _misses(budget: Budget, old: ModelName, new: ModelName) -> bool:
    """Tell whether a budget selects the old name of a model and not the new one, or limits the old one by itself."""
    if not _selects(budget, old):
        return False
    if not _selects(budget, new):
        return True
    return any(_renamed(subject, old, new) not in (None, subject) for subject, _ in budget.overrides)


def _selects(budget: Budget, name: ModelName) -> bool:
    wanted: dict[str, Wanted] = dict(budget.selector)
    named = name._asdict().items()
    return all(selects(wanted.get(dimension, ANY), value, any_case=True) for dimension, value in named)


def _renamed(subject: Subject, old: ModelName, new: ModelName) -> Subject | None:
    """Return a subject with the new name of a model in place of the old one, None if it is not about that model."""
    if subject.get("model") != old.model or subject.get("provider") not in (None, old.provider):
        return None
    return subject.with_model(*new)


def _carried(books: Books, old: ModelName, new: ModelName, names: set[ModelName]) -> list[tuple[Account, Subject]]:
    """Return the accounts of windows under way that only the old name had calls on, with their subjects from now on.

    An account per model has the calls of all providers that the budget selects; it stays while another one has a model
    of that name.
    """
    carried = []
    for budget in books.config.budgets:
        if not _selects(budget, old):
            continue
        wanted = dict(budget.selector)
        shared = wanted.get("provider") != ANY and any(
            each.model == old.model and _selects(budget, each) for each in names
        )
        if wanted.get("model") != ANY or shared:
            continue
        for account in books.accounts_of(budget.budget_id):
            subject = _renamed(account.subject, old, new) if _goes_on(books, account) else None
            if subject is not None:
                carried.append((account, subject))
    return carried


def _goes_on(books: Books, account: Account) -> bool:
    """Tell whether calls may still be admitted on an account. Of a run that has ended it is known only by chance."""
    run_id = account.subject.get("run")
    run = None if run_id is None else books.loaded.runs.get(int(run_id))
    return account.is_open(books.now) and (run is None or run.state is RunState.OPEN)


def _too_much(books: Books, carried: list[tuple[Account, Subject]]) -> Refused | None:
    """Return the refusal of more than one batch can carry, or than one account can have."""
    if len(carried) > MOST_CARRIED:
        detail = (
            f"{len(carried):,} accounts of windows under way have calls of this model, and at most {MOST_CARRIED:,} go"
            " along in one change; rename it at the start of a window, when there are fewer"
        )
        return Refused(Code.INVALID_REQUEST, detail, "asked")
    for account, subject in carried:
        other = books.find_account((account.budget_id, subject.text, account.window_start))
        if other is not None and any(a + b > LARGEST_AMOUNT for a, b in zip(account.used, other.used, strict=True)):
            detail = (
                f"together the accounts of budget {account.budget!r} would have more than the largest amount; archive"
                " that budget, then rename"
            )
            return Refused(Code.INVALID_REQUEST, detail, "becomes")
    return None


def _shown(name: AskedName) -> str:
    return "/".join(name)
