"""Answers about runs."""

from collections.abc import Iterable
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import StepTaken
from token_ledger.core.model.account import Account
from token_ledger.core.model.run import Run, RunState
from token_ledger.wire.answers.amounts import Balance, balance_answer
from token_ledger.wire.fields import InstantText, Replayed, answer, doc, example_of, instant, optional_instant


@answer
class Iterations(TypedDict):
    """How many steps a run may take and has taken, those of its sub-runs included."""

    limit: Annotated[int | None, doc("How many it may take; null for no limit.", 20)]
    taken: Annotated[int, doc("How many it has taken.", 3)]


@answer
class AllocationAnswer(TypedDict):
    """An agent type's share of a run."""

    agent_type: Annotated[str, doc("Kind of agent.", "data_agent")]
    balance: Annotated[Balance, doc("Balance of the share.", example_of(Balance))]


@answer
class RunAnswer(TypedDict):
    """A run as it stands."""

    run_id: Annotated[str, doc("The run.", "68288512")]
    parent_run_id: Annotated[str | None, doc("The run that it is part of.", None)]
    ancestors: Annotated[list[str], doc("The runs that it is part of, outermost first.", [])]
    depth: Annotated[int, doc("1 for a run, 2 for its sub-runs, and so on, up to 8.", 1)]
    iterations: Annotated[Iterations, doc("Steps it may take and has taken.", example_of(Iterations))]
    external_id: Annotated[str | None, doc("Your own id of the run.", "chat-2041")]
    state: Annotated[RunState, doc("Where the run stands.", "open")]
    user: Annotated[str, doc("The user for whom the run works.", "ada")]
    cost_center: Annotated[str, doc("Cost center that the run is charged to.", "research")]
    strict: Annotated[bool, doc("True if agent types without a share are refused.", False)]
    created_at: Annotated[InstantText, doc("When it was opened.", "2026-11-21T09:30:00+00:00")]
    ended_at: Annotated[InstantText | None, doc("When it was closed or cancelled; null while it is open.", None)]
    balance: Annotated[Balance | None, doc("Balance of the run; null in lists.", example_of(Balance))]
    allocations: Annotated[
        list[AllocationAnswer],
        doc("Balances of its shares; empty in lists.", [example_of(AllocationAnswer)]),
    ]
    replayed: Replayed


@answer
class RunList(TypedDict):
    """Runs, newest first."""

    runs: Annotated[list[RunAnswer], doc("Runs, newest first, without balances.", [example_of(RunAnswer)])]


def iterations_answer(run: Run) -> Iterations:
    """Return the steps that a run may take and has taken."""
    return {"limit": run.limit_iterations, "taken": run.iterations}


def run_answer(run: Run, accounts: Iterable[Account] = (), *, replayed: bool = False) -> RunAnswer:
    """Return a run with the balances of its accounts, where they are given."""
    balance: Balance | None = None
    allocations: list[AllocationAnswer] = []
    for account in accounts:
        agent_type = account.subject.get("agent_type")
        if agent_type is None:
            balance = balance_answer(account)
        else:
            allocations.append({"agent_type": agent_type, "balance": balance_answer(account)})
    return {
        "run_id": str(run.run_id),
        "parent_run_id": str(run.ancestors[-1]) if run.ancestors else None,
        "ancestors": [str(ancestor) for ancestor in run.ancestors],
        "depth": len(run.lineage),
        "iterations": iterations_answer(run),
        "external_id": run.external_id,
        "state": run.state,
        "user": run.user,
        "cost_center": run.cost_center,
        "strict": run.strict,
        "created_at": instant(run.created_at),
        "ended_at": optional_instant(run.ended_at),
        "balance": balance,
        "allocations": allocations,
        "replayed": replayed,
    }


@answer
class StepAnswer(TypedDict):
    """An iteration that has begun."""

    run_id: Annotated[str, doc("The run.", "68288512")]
    step_id: Annotated[str, doc("The step.", "68485120")]
    iteration: Annotated[int, doc("Number of the iteration, from 1.", 4)]
    iterations: Annotated[Iterations, doc("Steps the run may take and has taken.", {"limit": 20, "taken": 4})]
    replayed: Replayed


def step_answer(outcome: StepTaken) -> StepAnswer:
    """Return an iteration that has begun."""
    return {
        "run_id": str(outcome.run.run_id),
        "step_id": str(outcome.step.step_id),
        "iteration": outcome.step.iteration,
        "iterations": iterations_answer(outcome.run),
        "replayed": outcome.replayed,
    }
