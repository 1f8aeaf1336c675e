"""The answer of a preflight."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Denied, PreflightAnswer, Refused
from token_ledger.core.model.money import format_money
from token_ledger.wire.answers.denial_problem import RefusalAnswer, refusal_answer
from token_ledger.wire.fields import answer, doc, example_of
from token_ledger.wire.problems import problem_of


@answer
class StoppedBy(TypedDict):
    """Why the first call that does not fit would be refused."""

    code: Annotated[str, doc("Code of the problem that a reserve would get.", "budget_exceeded")]
    detail: Annotated[str, doc("What is wrong.", "budget 'user day' has 3560 of 5000 tokens left, the call needs 5000")]
    refusals: Annotated[list[RefusalAnswer], doc("Accounts that have too little left.", [example_of(RefusalAnswer)])]


@answer
class PreflightReport(TypedDict):
    """How many of the planned calls would fit now."""

    finishes: Annotated[bool, doc("True if all of them would fit.", False)]
    asked: Annotated[list[int], doc("How many calls of each kind were planned.", [10])]
    fits: Annotated[list[int], doc("How many calls of each kind would fit.", [7])]
    tokens: Annotated[int, doc("The most tokens that all planned calls could use.", 17_000)]
    cost: Annotated[str, doc("The most that they could cost, in dollars.", "0.105000000")]
    stopped_by: Annotated[StoppedBy | None, doc("What stops the first call that does not fit.", example_of(StoppedBy))]
    warnings: Annotated[
        list[RefusalAnswer],
        doc("Soft and shadow accounts that would have too little left.", [example_of(RefusalAnswer)]),
    ]


def preflight_answer(outcome: PreflightAnswer) -> PreflightReport:
    """Return what a preflight found."""
    return {
        "finishes": outcome.fits == outcome.asked,
        "asked": list(outcome.asked),
        "fits": list(outcome.fits),
        "tokens": outcome.tokens,
        "cost": format_money(outcome.nanos),
        "stopped_by": None if outcome.refusal is None else _stopped_by(outcome.refusal),
        "warnings": [refusal_answer(refusal) for refusal in outcome.warnings],
    }


def _stopped_by(refusal: Denied | Refused) -> StoppedBy:
    problem = problem_of(refusal)
    return {"code": problem.code, "detail": problem.detail, "refusals": problem.extra.get("refusals", [])}
