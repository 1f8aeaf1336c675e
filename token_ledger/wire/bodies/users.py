"""Bodies of users and their cost centers."""

from typing import Annotated

from pydantic import Field

from token_ledger.wire.fields import Body, IdempotencyKey, Instant, Name, doc


class CostCenterBody(Body):
    """A user's cost center from an instant on."""

    cost_center: Annotated[Name, doc("Cost center that the user's calls are charged to.", "research")]
    since: Annotated[
        Instant | None,
        Field(alias="from"),
        doc("From when on. Without it the cost center counts from the beginning.", "2027-01-01T00:00:00Z"),
    ] = None


class UserBody(Body):
    """A person or system for whom agents run."""

    user: Annotated[Name, doc("The user's name, as calls will give it; `Ada` and `ada` are two users.", "ada")]
    cost_centers: Annotated[
        tuple[CostCenterBody, ...],
        Field(max_length=64),
        doc(
            "The user's cost centers, in the order of their instants. They replace what is stored from the first "
            "instant on; earlier ones stay. Without any, all that are stored stay.",
            [{"cost_center": "research"}, {"from": "2027-01-01T00:00:00Z", "cost_center": "operations"}],
        ),
    ] = ()


class UsersBody(Body):
    """Add users, or give them other cost centers. Users that are not named stay as they are."""

    idempotency_key: IdempotencyKey
    users: Annotated[
        tuple[UserBody, ...],
        Field(min_length=1, max_length=1_000),
        doc("1 to 1,000 users.", [{"user": "ada", "cost_centers": [{"cost_center": "research"}]}]),
    ]
