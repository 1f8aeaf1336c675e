"""The body of limits, shared by runs, budgets, grants and increases."""

from typing import Annotated

from token_ledger.wire.fields import Body, LimitNumber, Money, doc


class LimitsBody(Body):
    """Limits on the sum of settled and held amounts. A unit that is left out has no limit."""

    tokens: Annotated[LimitNumber | None, doc("Limit in tokens.", 50_000)] = None
    cost: Annotated[Money | None, doc("Limit in dollars, as a decimal string.", "12.50")] = None
    calls: Annotated[LimitNumber | None, doc("Limit in calls.", 200)] = None
