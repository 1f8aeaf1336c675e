"""Answers about budgets."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.budget import NO_LIMITS, Budget, Counts, Enforcement, Unassigned
from token_ledger.core.model.plain_data import selector_data
from token_ledger.core.model.window import Window
from token_ledger.wire.answers.amounts import Amounts, limits_answer
from token_ledger.wire.fields import Replayed, answer, doc, example_of


@answer
class OverrideAnswer(TypedDict):
    """A subject of a budget that has other limits than the rest."""

    subject: Annotated[dict[str, str], doc("One value for every `*` dimension.", {"user": "ada"})]
    limits: Annotated[Amounts | None, doc("All of its limits; null for none.", example_of(Amounts))]


@answer
class BudgetAnswer(TypedDict):
    """A budget as it stands."""

    budget_id: Annotated[str, doc("The budget.", "3")]
    name: Annotated[str, doc("Its name.", "user day")]
    selector: Annotated[
        dict[str, str | list[str]],
        doc("Which calls count, by dimension: a name, names in ascending order, a prefix, or `*`.", {"user": "*"}),
    ]
    named: Annotated[
        dict[str, str | list[str]],
        doc("Models and providers as they were given, where `selector` has the names of the books.", {}),
    ]
    limits: Annotated[Amounts, doc("Limits of every account per window.", example_of(Amounts))]
    window: Annotated[Window, doc("How long an account lasts.", "day")]
    enforcement: Annotated[Enforcement, doc("What happens to a call that does not fit.", "hard")]
    counts: Annotated[Counts, doc("Which tokens the token limit counts.", "all")]
    thresholds: Annotated[list[int], doc("Shares of a limit, in percent, that are reported.", [50, 75, 90, 100])]
    rollover: Annotated[
        Amounts | None,
        doc(
            "The most that a window hands on to the next; null for nothing.",
            {"tokens": 10_000, "cost": None, "calls": None},
        ),
    ]
    overrides: Annotated[list[OverrideAnswer], doc("Subjects that have other limits.", [example_of(OverrideAnswer)])]
    unassigned: Annotated[
        Unassigned, doc("Whether calls without a cost center share an account, or each user has one.", "shared")
    ]
    archived: Annotated[bool, doc("True if it selects no more calls.", False)]
    replayed: Replayed


@answer
class BudgetList(TypedDict):
    """Budgets."""

    budgets: Annotated[list[BudgetAnswer], doc("All budgets, in the order they were made.", [example_of(BudgetAnswer)])]


def budget_answer(budget: Budget, *, archived: bool = False, replayed: bool = False) -> BudgetAnswer:
    """Return a budget as it stands."""
    return {
        "budget_id": str(budget.budget_id),
        "name": budget.name,
        "selector": selector_data(budget.selector),
        "named": selector_data(budget.named),
        "limits": limits_answer(budget.limits),
        "window": budget.window,
        "enforcement": budget.enforcement,
        "counts": budget.counts,
        "thresholds": list(budget.thresholds),
        "rollover": None if budget.rollover is None else limits_answer(budget.rollover),
        "overrides": [
            {"subject": dict(subject.pairs), "limits": None if limits == NO_LIMITS else limits_answer(limits)}
            for subject, limits in budget.overrides
        ],
        "unassigned": budget.unassigned,
        "archived": archived,
        "replayed": replayed,
    }
