"""Answers about users."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.tenant import User
from token_ledger.wire.fields import InstantText, answer, doc, example_of, optional_instant

# `from` is a keyword of Python, so this type cannot be written as a class.
CostCenterAnswer = TypedDict(
    "CostCenterAnswer",
    {
        "from": Annotated[
            InstantText | None, doc("From when on; null: from the beginning.", "2027-01-01T00:00:00+00:00")
        ],
        "cost_center": Annotated[str, doc("Cost center that the user's calls are charged to.", "research")],
    },
)
CostCenterAnswer.__doc__ = "A user's cost center from an instant on."


@answer
class UserAnswer(TypedDict):
    """A user with their cost centers."""

    user: Annotated[str, doc("The user's name.", "ada")]
    cost_centers: Annotated[
        list[CostCenterAnswer],
        doc("Their cost centers, in the order of their instants.", [example_of(CostCenterAnswer)]),
    ]


@answer
class UserList(TypedDict):
    """Users."""

    users: Annotated[list[UserAnswer], doc("Users, by name.", [example_of(UserAnswer)])]


def user_answer(user: User) -> UserAnswer:
    """Return a user with their cost centers."""
    return {
        "user": user.user,
        "cost_centers": [
            {"from": optional_instant(since), "cost_center": cost_center} for since, cost_center in user.cost_centers
        ],
    }
