"""A settle is booked on the accounts of the model that was served; names of a model lead to one in the books."""

from datetime import timedelta
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch.administration import ArchiveBudget, CreateBudget
from token_ledger.core.batch.outcomes import Denied, Granted, Recorded, Settled
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Budget, Limits
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

LARGE = given.budget(tokens=10**6, budget_id=3, name="large", selector=(("model", "large"),))
SMALL = given.budget(tokens=10, budget_id=4, name="small", selector=(("model", "small"),))
EACH = given.budget(tokens=10**6, budget_id=5, name="each", selector=(("model", "*"),))
ALL = given.budget(tokens=10**6, budget_id=6, name="all")


def accounts(ledger: given.Ledger) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Settled tokens, settled calls and held tokens by budget and subject."""
    known = {a.account_id: a for a in (*ledger.books.loaded.accounts, *ledger.books.writes.new_accounts)}
    return {(a.budget, a.subject.text): (a.settled_tokens, a.settled_calls, a.held_tokens) for a in known.values()}


def settled(ledger: given.Ledger, number: int, usage: Usage = given.USED, **fields: Any) -> Settled:
    outcome = ledger.one(given.settle(number, usage, **fields))
    assert isinstance(outcome, Settled), outcome
    return outcome


def test_the_actual_falls_on_the_budgets_of_the_served_model_whatever_their_limits() -> None:
    ledger = given.Ledger(LARGE, SMALL, EACH, ALL)
    held = ledger.granted()
    event = settled(ledger, held.reservation_id, model="small").event
    assert accounts(ledger) == {
        ("large", "{}"): (0, 0, 0), ("each", '{"model":"large"}'): (0, 0, 0), ("all", "{}"): (1_000, 1, 0),
        ("small", "{}"): (1_000, 1, 0), ("each", '{"model":"small"}'): (1_000, 1, 0),
    }  # fmt: skip
    assert event.held_path == held.path != event.path
    assert isinstance(ledger.one(given.reserve(model="small", key="more")), Denied)


def test_a_settle_that_names_the_same_model_otherwise_stays_on_its_path() -> None:
    ledger = given.Ledger(LARGE, EACH)
    held = ledger.granted(model="large")
    event = settled(ledger, held.reservation_id, model="large-latest").event
    assert (event.path, event.held_path, event.unpriced) == (held.path, None, False)
    assert (event.facts.model, event.served) == ("large", ("acme", "large-latest"))


@pytest.mark.parametrize("model", ["unknown", "later"])
def test_a_served_model_without_a_price_costs_what_its_hold_was_priced_at(model: str) -> None:
    ledger = given.Ledger(given.budget(nanos=10**7, budget_id=3))
    booked = 0
    for number in range(10):
        held = ledger.one(given.reserve(key=f"r{number}"))
        if isinstance(held, Denied):
            break
        assert isinstance(held, Granted)
        event = settled(ledger, held.reservation.reservation_id, key=f"s{number}", model=model).event
        assert event.unpriced
        booked += event.cost_nanos
    else:
        pytest.fail("no call was refused")
    assert booked == 900 * 2_500 + 100 * 10_000


def test_accounts_of_runs_and_their_allocations_never_move() -> None:
    ledger = given.Ledger(LARGE)
    run = ledger.opened(limits=Limits(tokens=10_000), shares=(Share("planner", 1),))
    held = ledger.granted(run_id=run.run_id)
    event = settled(ledger, held.reservation_id, model="small").event
    assert [ledger.books.account(n).budget for n in event.path] == ["run", "allocation"]
    assert event.path == held.path[:2]


def test_each_draw_of_a_lease_moves_by_itself_and_the_rest_stays() -> None:
    ledger = given.Ledger(LARGE, SMALL)
    lease = ledger.one(given.lease(calls=4))
    assert isinstance(lease, Granted)
    number = lease.reservation.reservation_id
    settled(ledger, number, Usage(900, 100), model="small", part=True, key="1")
    settled(ledger, number, Usage(900, 100), part=True, key="2")
    assert accounts(ledger) == {("large", "{}"): (1_000, 1, 4_000), ("small", "{}"): (1_000, 1, 0)}
    ledger.one(given.release(number))
    assert accounts(ledger) == {("large", "{}"): (1_000, 1, 0), ("small", "{}"): (1_000, 1, 0)}


def test_served_accounts_are_of_the_window_of_the_reserve() -> None:
    hourly = given.budget(tokens=10, budget_id=3, name="small", selector=(("model", "small"),), window=Window.HOUR)
    ledger = given.Ledger(hourly)
    held = ledger.granted()
    event = settled(ledger.at(given.NOW + timedelta(hours=2)), held.reservation_id, model="small").event
    (account,) = (ledger.books.account(n) for n in event.path)
    assert (account.window_start, account.settled_tokens, account.earns) == (given.NOW, 1_000, False)


def test_budgets_made_or_archived_since_the_reserve_change_no_path() -> None:
    ledger = given.Ledger(Budget(3, "large", (("model", "large"),), Limits(10**6), Window.DAY))
    held = ledger.granted()
    ledger.one(given.sealed(ArchiveBudget("a", b"", 3)))
    ledger.one(given.sealed(CreateBudget("c", b"", "new", (("model", "small"),), Limits(5), Window.DAY)))
    assert settled(ledger, held.reservation_id, model="small").event.path == held.path


def test_a_tool_that_the_settle_names_counts_too() -> None:
    ledger = given.Ledger(given.budget(tokens=10**6, budget_id=3, selector=(("tool", "search"),)))
    held = ledger.granted()
    event = settled(ledger, held.reservation_id, tool="search").event
    assert (held.path, len(event.path), event.held_path) == ([], 1, [])


# Names


NAMES = ("large", "large-latest")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_model_falls_on_its_budget(name: str) -> None:
    ledger = given.Ledger(LARGE, EACH)
    held = ledger.granted(model=name)
    assert (held.facts.model, held.requested, held.to_call) == ("large", ("acme", name), ("acme", name))
    recorded = ledger.one(given.record(model=name))
    assert isinstance(recorded, Recorded)
    assert (recorded.event.facts.model, recorded.event.path) == ("large", held.path)


@pytest.mark.parametrize("name", ["Foo-1", "foo-1", "FOO-1"])
def test_an_unknown_model_is_its_name_in_lower_case(name: str) -> None:
    ledger = given.Ledger(EACH)
    recorded = ledger.one(given.record(model=name, provider="Nobody"))
    assert isinstance(recorded, Recorded)
    assert recorded.event.facts[4:6] == ("nobody", "foo-1")
    assert recorded.event.requested == ("Nobody", name)


def test_a_name_keeps_its_meaning_when_the_price_book_changes() -> None:
    ledger = given.Ledger(EACH)
    ledger.granted(model="large-latest")
    known = dict(ledger.books.writes.model_names)
    assert known == {("acme", "large-latest"): ("acme", "large")}
    ledger.at(given.NOW + timedelta(seconds=1)).books.loaded.model_names = {("acme", "large-latest"): ("acme", "was")}  # type: ignore[dict-item]
    assert ledger.granted(model="large-latest", key="later").facts.model == "was"
    assert not ledger.books.writes.model_names
