"""A user's cost centers follow one another in time."""

from datetime import timedelta

import pytest

from tests.core.given import NOW
from token_ledger.core.model.tenant import User, check_cost_centers

LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize("instants", [(), (None,), (NOW,), (None, NOW), (NOW, LATER), (None, NOW, LATER)])
def test_each_begins_after_the_one_before(instants: tuple[None, ...]) -> None:
    check_cost_centers([(since, "lab") for since in instants])


@pytest.mark.parametrize(
    "instants",
    [(None, None), (NOW, None), (NOW, NOW), (LATER, NOW), (None, None, NOW), (None, NOW, None), (None, LATER, NOW)],
)
def test_any_other_order_is_refused(instants: tuple[None, ...]) -> None:
    with pytest.raises(ValueError, match="cost centers ascend by `from`; only the first may have none"):
        check_cost_centers([(since, "lab") for since in instants])


def test_the_newest_that_has_begun_is_in_force() -> None:
    user = User("ada", ((None, "lab"), (NOW, "ops"), (LATER, "desk")))
    assert [user.cost_center(at) for at in (NOW - timedelta(seconds=1), NOW, LATER)] == ["lab", "ops", "desk"]
    assert User("bob").cost_center(NOW) == "unassigned"
