"""Answers about names of models."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.price import ModelName
from token_ledger.storage.reads.model_names import BookedName
from token_ledger.wire.answers.reservations import ModelNameAnswer
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant


@answer
class AskedNameAnswer(TypedDict):
    """A name of a model as callers use it."""

    provider: Annotated[str, doc("Provider, as callers name it.", "openai")]
    model: Annotated[str, doc("Model, as callers name it.", "gpt-5.4-2026-03-05")]


@answer
class BookedNameAnswer(TypedDict):
    """What a name that callers used is in the books."""

    name_id: Annotated[str, doc("The decision; the list is in its order.", "68878337")]
    asked: Annotated[AskedNameAnswer, doc("The name that callers used.", example_of(AskedNameAnswer))]
    name: Annotated[ModelNameAnswer, doc("What it is in the books.", example_of(ModelNameAnswer))]
    since: Annotated[InstantText, doc("Since when.", "2026-11-21T09:30:00+00:00")]
    renamed: Annotated[bool, doc("True if an administrator decided, false if it follows from the first use.", False)]
    differs: Annotated[
        ModelNameAnswer | None,
        doc(
            "What the present price book would call the model, if that is another name; null if it is not. Rename the "
            "model to accept it.",
            None,
        ),
    ]


@answer
class ModelNameList(TypedDict):
    """Names of models."""

    model_names: Annotated[
        list[BookedNameAnswer], doc("Names, in the order of the decisions.", [example_of(BookedNameAnswer)])
    ]


def model_name_answer(booked: BookedName) -> BookedNameAnswer:
    """Return what a name is in the books."""
    return {
        "name_id": str(booked.decided_id),
        "asked": {"provider": booked.asked.provider, "model": booked.asked.model},
        "name": _name(booked.name),
        "since": instant(booked.since),
        "renamed": booked.renamed,
        "differs": None if booked.differs is None else _name(booked.differs),
    }


def _name(name: ModelName) -> ModelNameAnswer:
    return {"provider": name.provider, "model": name.model}
