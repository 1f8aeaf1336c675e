"""What the live stream of a run tells of the run itself."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.run import RunState
from token_ledger.storage.reads.run_news import RunNews
from token_ledger.wire.answers.amounts import Amounts, limits_answer
from token_ledger.wire.answers.runs import Iterations, iterations_answer
from token_ledger.wire.fields import answer, doc, example_of


@answer
class ShareNews(TypedDict):
    """An agent type's share of a watched run."""

    agent_type: Annotated[str, doc("Kind of agent.", "data_agent")]
    tokens: Annotated[int, doc("Limit of the share, in tokens.", 15_000)]


@answer
class RunNewsAnswer(TypedDict):
    """How a watched run stands, without what it uses: that is told call by call."""

    sequence: Annotated[int, doc("Sequence number of the newest batch when this was read.", 1_044)]
    run_id: Annotated[str, doc("The run.", "68288512")]
    state: Annotated[RunState, doc("Where the run stands.", "cancelled")]
    stop: Annotated[
        str | None,
        doc(
            "Why no further call of the run should be made: `run_cancelled` or `run_closed`, of the run or of one that"
            " it is part of, or `tenant_stopped`; null where calls may go on.",
            "run_cancelled",
        ),
    ]
    iterations: Annotated[Iterations, doc("Steps it may take and has taken.", example_of(Iterations))]
    limits: Annotated[Amounts, doc("Limits of the run itself.", example_of(Amounts))]
    shares: Annotated[list[ShareNews], doc("Its split over agent types.", [example_of(ShareNews)])]
    setup_version: Annotated[
        int,
        doc(
            "Rises when budgets, triggers, prices or users of the tenant change: a lease may have been given before.", 7
        ),
    ]


def run_news_answer(news: RunNews) -> RunNewsAnswer:
    """Return how a watched run stands."""
    run = news.run
    return {
        "sequence": news.sequence,
        "run_id": str(run.run_id),
        "state": run.state,
        "stop": news.stop,
        "iterations": iterations_answer(run),
        "limits": limits_answer(run.limits),
        "shares": [{"agent_type": name, "tokens": tokens} for name, tokens in run.allocated.items()],
        "setup_version": news.setup_version,
    }
