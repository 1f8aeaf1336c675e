"""Answers about re-costing: what it would change, what it has changed, and that a price offers it."""

from collections.abc import Iterable
from typing import Annotated, Any

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Changed, Recosted
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.recosting import totals_of
from token_ledger.storage.reads.recostings import Look
from token_ledger.wire.answers.audit import ChangeAnswer, change_answer
from token_ledger.wire.fields import Replayed, answer, doc, example_of


@answer
class UnpricedKind(TypedDict):
    """Units of a kind that had no price."""

    kind: Annotated[str, doc("The kind.", "web_searches")]
    count: Annotated[int, doc("How many.", 2)]


@answer
class RecostedModel(TypedDict):
    """What re-costing changes of a model."""

    provider: Annotated[str, doc("Provider, as in the books.", "house")]
    model: Annotated[str, doc("Model, as in the books.", "summarizer")]
    events: Annotated[int, doc("How many events are re-costed.", 12)]
    tokens: Annotated[int, doc("How many of their tokens had no price of the model's own.", 14_400)]
    kinds: Annotated[list[UnpricedKind], doc("What of other kinds had no price.", [example_of(UnpricedKind)])]
    cost_before: Annotated[str, doc("What these events cost before, in dollars.", "0.180000000")]
    cost_after: Annotated[str, doc("What they cost after it.", "0.054000000")]
    difference: Annotated[str, doc("What is added to the cost.", "-0.126000000")]
    list_cost_before: Annotated[str, doc("What they cost everybody, before.", "0.180000000")]
    list_cost_after: Annotated[str, doc("What they cost everybody, after it.", "0.054000000")]


_Models = Annotated[
    list[RecostedModel], doc("A row per model whose cost changes, by name.", [example_of(RecostedModel)])
]
_Next = Annotated[
    str | None, doc("What to give as `after` to continue; null when all calls were looked at.", "68419584/summarizer")
]


@answer
class RecostingPreview(TypedDict):
    """What re-costing would change."""

    models: _Models
    next: _Next


@answer
class RecostingAnswer(TypedDict):
    """What was re-costed, as the audit log has it."""

    audit_id: Annotated[str, doc("The entry in the audit log.", "68943873")]
    actor: Annotated[str, doc("Who re-costed it.", "key:1kQ8vR2mZx0a")]
    models: _Models
    next: _Next
    replayed: Replayed


@answer
class PriceChangeAnswer(ChangeAnswer):
    """A change of what models cost, as the audit log has it."""

    recostable: Annotated[
        int,
        doc(
            "How many calls were booked without a price and would have one now, of the newest of the model; `POST"
            " /v1/recostings` with its name re-costs them.",
            0,
        ),
    ]


def preview_answer(found: Look) -> RecostingPreview:
    """Return what re-costing would change."""
    totals = totals_of(found.recostings)
    return {"models": _models(map(totals_data, totals)), "next": found.following}


def recosting_answer(outcome: Recosted) -> RecostingAnswer:
    """Return what was re-costed."""
    entry, after = outcome.entry, outcome.entry.after
    return {
        "audit_id": str(entry.audit_id),
        "actor": entry.actor,
        "models": _models(after["models"]),
        "next": after["next"],
        "replayed": outcome.replayed,
    }


def price_change_answer(outcome: Changed, recostable: int) -> PriceChangeAnswer:
    """Return a change of what models cost, with how many calls could be re-costed."""
    return {**change_answer(outcome), "recostable": recostable}


def _models(rows: Iterable[dict[str, Any]]) -> list[RecostedModel]:
    return [
        {
            "provider": row["provider"],
            "model": row["model"],
            "events": row["events"],
            "tokens": row["tokens"],
            "kinds": [{"kind": kind, "count": count} for kind, count in row["kinds"].items()],
            "cost_before": row["cost_before"],
            "cost_after": row["cost_after"],
            "difference": row["difference"],
            "list_cost_before": row["list_cost_before"],
            "list_cost_after": row["list_cost_after"],
        }
        for row in rows
    ]
