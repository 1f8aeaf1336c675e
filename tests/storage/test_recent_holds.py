"""Which holds a process keeps of those that it gave: the newest, until they end."""

from tests.core.given import Ledger, budget, release
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.load.recent_holds import RecentHolds

TENANT = TenantId(1)


def test_of_many_holds_the_newest_are_kept() -> None:
    ledger = Ledger(budget(tokens=1_000_000))
    holds = [ledger.granted(key=key).reservation_id for key in ("first", "second", "third")]
    kept = RecentHolds(most=2)

    kept.keep(TENANT, ledger.books.writes)

    assert [kept.get((TENANT, hold)) is not None for hold in holds] == [False, True, True]


def test_a_hold_that_has_ended_is_kept_no_longer() -> None:
    ledger = Ledger(budget(tokens=1_000_000))
    hold = ledger.granted().reservation_id
    kept = RecentHolds()
    kept.keep(TENANT, ledger.books.writes)
    assert kept.get((TENANT, hold)) is not None

    ledger.one(release(hold))
    kept.keep(TENANT, ledger.books.writes)

    assert kept.get((TENANT, hold)) is None
