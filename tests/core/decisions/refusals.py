"""Every refusal of the core: verb by verb, in the order of the checks, each with exactly one thing wrong.

ARCHITECTURE.md shows this table; `tests/documents` keeps it equal.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.core.given import LARGE, NOW, USED, Ledger, budget, open_run, record, release, reserve, sealed, settle
from token_ledger.core.batch.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    DecideIncrease,
    EraseUser,
    ForceRelease,
    GiveGrant,
    Recost,
    RecostedCall,
    RenameModel,
    ReplaceBudget,
    Reverse,
    SetAlias,
    SetCalendar,
    SetDiscount,
    SetModel,
    SetPrice,
    StopTenant,
)
from token_ledger.core.batch.commands import EndRun, Extend, KeepUnbooked, Lease, Preflight, Rebalance, Step
from token_ledger.core.batch.outcomes import BudgetAnswer, Code, IncreaseAnswer, Recorded, Settled
from token_ledger.core.decisions.prices import MOST_OWN
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.discount import Discount
from token_ledger.core.model.model_facts import ModelFacts, OwnFacts
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.price_terms import Alias, OwnPrice, PriceTerms
from token_ledger.core.model.run import RunState
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import CalendarRule, Window

NOTHING = 7
BUDGET, EACH, PER_RUN = 90, 91, 92
ALL = Subject({})
Fields = dict[str, Any]


@dataclass
class Tenant:
    """A ledger with runs of every kind and holds in every state."""

    ledger: Ledger = field(
        default_factory=lambda: Ledger(
            budget(tokens=20_000, calls=40, window=Window.DAY),
            budget(budget_id=EACH, name="each", selector=(("user", "*"),), tokens=1_000_000),
            budget(budget_id=PER_RUN, name="per run", tokens=1_000_000, window=Window.RUN),
        )
    )

    def __post_init__(self) -> None:
        ledger = self.ledger
        self.run = ledger.opened(key="run 1", limits=Limits(tokens=10_000), iterations=1).run_id
        self.strict = ledger.opened(
            key="run 2", limits=Limits(tokens=1_000), shares=(Share("writer", 1),), strict=True
        ).run_id
        self.free = ledger.opened(key="run 3").run_id
        self.parent = ledger.opened(key="run 4").run_id
        self.part = ledger.opened(key="run 5", parent_run_id=self.parent, user=None, cost_center=None).run_id
        self.done = ledger.opened(key="run 6").run_id
        self.spent = ledger.opened(key="run 7", iterations=0).run_id
        ledger.opened(key="run 8", external_id="thread")
        self.deep = self.free
        for depth in range(7):
            opened = ledger.opened(key=f"deep {depth}", parent_run_id=self.deep, user=None, cost_center=None)
            self.deep = opened.run_id
        ledger.one(sealed(EndRun("end 1", b"", self.parent, RunState.CANCELLED)))
        ledger.one(sealed(EndRun("end 2", b"", self.done, RunState.CLOSED)))
        self.held = ledger.granted(key="hold 1").reservation_id
        self.released = ledger.granted(key="hold 2").reservation_id
        ledger.one(release(self.released, key="release 2"))
        self.settled = ledger.granted(key="hold 3").reservation_id
        settled = ledger.one(settle(self.settled, key="settle 3"))
        assert isinstance(settled, Settled)
        self.event = settled.event.event_id
        self.account = next(a.account_id for a in ledger.books.writes.new_accounts if a.budget_id == BUDGET)
        asked = ledger.one(sealed(AskIncrease("ask", b"", self.account, Limits(tokens=5), "more", "key:a")))
        assert isinstance(asked, IncreaseAnswer)
        self.asked = asked.increase.increase_id
        other = ledger.one(sealed(AskIncrease("ask 2", b"", self.account, Limits(tokens=5), "more", "key:a")))
        assert isinstance(other, IncreaseAnswer)
        self.decided = other.increase.increase_id
        ledger.one(sealed(DecideIncrease("decide", b"", self.decided, False, "key:b")))

    def stop(self) -> None:
        """Stop all calls."""
        self.ledger.one(sealed(StopTenant("stop", b"", "runaway", "key:b")))

    def close_windows(self) -> None:
        """Continue two days later, when all windows of a day have ended."""
        self.ledger.at(NOW + timedelta(days=2)).decide()

    def fill_accounts(self, users: int = 5_001) -> None:
        """Let so many users have used as much as an account can have, of two models each."""
        per_model = _budget(key="per model", name="per model", selector=(("model", "*"), ("user", "*")))
        made = self.ledger.one(per_model)
        assert isinstance(made, BudgetAnswer)
        for number in range(users):
            for model in ("small", "large"):
                subject = Subject({"model": model, "user": f"user {number}"})
                self.ledger.books.account_of((made.budget, subject)).settle(LARGEST_AMOUNT, 0, 0)

    def fill_price_terms(self) -> None:
        """Let the tenant have as many prices, aliases and discounts as it may have."""
        books = self.ledger.books
        prices = tuple(OwnPrice(-n, "acme", f"m{n}", NOW, None, None) for n in range(MOST_OWN))
        aliases = tuple(Alias(n, "acme", f"m{n}", None) for n in range(MOST_OWN))
        discounts = tuple(Discount(n, "acme", f"m{n}", 5, NOW) for n in range(MOST_OWN))
        facts = tuple(OwnFacts(n, "acme", f"m{n}", None) for n in range(MOST_OWN))
        books.config = replace(books.config, price_terms=PriceTerms(prices, aliases, discounts, facts))


@dataclass(frozen=True)
class Refusal:
    """One thing that is wrong with a command, and its answer. `kind` is refused, denied or quarantined."""

    verb: str
    when: str
    command: Callable[[Tenant], Any]
    code: Code
    field: str | None = None
    kind: str = "refused"
    before: Callable[[Tenant], object] | None = None


def _lease(**fields: Any) -> Any:
    asked = reserve(**{"key": "l", **fields})
    values = {each.name: getattr(asked, each.name) for each in dataclasses.fields(asked)}
    return sealed(Lease(**{**values, "calls": 3, "fingerprint": b""}))


def _unbooked(report: Any) -> Any:
    return KeepUnbooked(report.key, report.fingerprint, report=report)


def _run(**fields: Any) -> Any:
    return open_run(**{"key": "new run", **fields})


def _sub_run(parent: int, **fields: Any) -> Any:
    return _run(parent_run_id=parent, user=None, cost_center=None, **fields)


def _budget(**fields: Any) -> Any:
    values: Fields = {"name": "other", "selector": (), "limits": Limits(5), "window": Window.DAY, "actor": "key:b"}
    return sealed(CreateBudget(**{"key": "b", "fingerprint": b"", **values, **fields}))


def _replace_budget(number: int, **fields: Any) -> Any:
    created = _budget(**fields)
    values = {each.name: getattr(created, each.name) for each in dataclasses.fields(created)}
    return sealed(ReplaceBudget(**{**values, "replaced_id": number, "fingerprint": b""}))


def _change_budget(number: int, **fields: Any) -> Any:
    return sealed(ChangeBudget("c", b"", number, actor="key:b", **fields))


def _grant(account: int | None, **fields: Any) -> Any:
    values: Fields = {"amounts": Limits(tokens=5), "reason": "more", "actor": "key:b"}
    return sealed(GiveGrant(**{"key": "g", "fingerprint": b"", "account_id": account, **values, **fields}))


def _decide(number: int, **fields: Any) -> Any:
    return sealed(DecideIncrease("d", b"", number, True, "key:b", **fields))


def _reverse(*events: int, **fields: Any) -> Any:
    values: Fields = {"event_source": None, "reason": "a test", "actor": "key:b"}
    named = tuple((event, NOW) for event in events)
    return sealed(Reverse(**{"key": "settle 3", "fingerprint": b"", "events": named, **values, **fields}))


def _unpriced(tenant: Tenant) -> int:
    """Book a call of a model without a price, and return its event."""
    booked = tenant.ledger.one(record(key="unpriced", model="unheard-of"))
    assert isinstance(booked, Recorded)
    return booked.event.event_id


def _recost(tenant: Tenant) -> Any:
    calls = (RecostedCall(((_unpriced(tenant), NOW),), ModelName("acme", "large")),)
    return sealed(Recost("x", b"", calls, "acme/unheard-of", "key:b"))


def _price() -> Any:
    return sealed(SetPrice("p", b"", "acme", "own", {}, LARGE, "key:b"))


def _alias(model: str = "large") -> Any:
    return sealed(SetAlias("a", b"", "acme", "mine", ModelName("acme", model), "key:b"))


def _model(model: str = "large") -> Any:
    return sealed(SetModel("m", b"", "acme", model, ModelFacts(max_output_tokens=5), "key:b"))


def _discount(until: datetime | None = None) -> Any:
    return sealed(SetDiscount("d", b"", "acme", "large", 5, "key:b", valid_until=until))


def _rename(asked: str = "small", becomes: str = "large") -> Any:
    names = ModelName("acme", asked), ModelName("acme", becomes)
    return sealed(RenameModel("n", b"", *names, "one model", "key:b"))


def _erase(**fields: Any) -> Any:
    return sealed(EraseUser(**{"key": "e", "fingerprint": b"", "user": "ada", "actor": "key:b", **fields}))


PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(hours=1)
TOO_LARGE: Fields = {"max_output_tokens": 30_000}

REFUSALS = (
    Refusal("reserve", "the tenant is stopped", lambda t: reserve(), Code.TENANT_STOPPED, before=Tenant.stop),
    Refusal("reserve", "there is no such run", lambda t: reserve(run_id=NOTHING), Code.RUN_NOT_FOUND, "run_id"),
    Refusal("reserve", "the run is closed", lambda t: reserve(run_id=t.done), Code.RUN_NOT_OPEN, "run_id"),
    Refusal("reserve", "a run that it is a part of is cancelled", lambda t: reserve(run_id=t.part),
            Code.RUN_NOT_OPEN, "run_id"),
    Refusal("reserve", "no price is known for the model", lambda t: reserve(model="unheard-of"),
            Code.UNKNOWN_MODEL, "model"),
    Refusal("reserve", "the model's price begins later", lambda t: reserve(model="later"), Code.UNKNOWN_MODEL, "model"),
    Refusal("reserve", "the run is strict and allocates nothing to the agent type",
            lambda t: reserve(run_id=t.strict, input_tokens=1, max_output_tokens=1), Code.NOT_ALLOCATED, kind="denied"),
    Refusal("reserve", "an account has too little left", lambda t: reserve(**TOO_LARGE), Code.BUDGET_EXCEEDED,
            kind="denied"),
    Refusal("lease", "the tenant is stopped", lambda t: _lease(), Code.TENANT_STOPPED, before=Tenant.stop),
    Refusal("lease", "there is no such run", lambda t: _lease(run_id=NOTHING), Code.RUN_NOT_FOUND, "run_id"),
    Refusal("lease", "the run is closed", lambda t: _lease(run_id=t.done), Code.RUN_NOT_OPEN, "run_id"),
    Refusal("lease", "no price is known for the model", lambda t: _lease(model="unheard-of"),
            Code.UNKNOWN_MODEL, "model"),
    Refusal("lease", "not even one call fits", lambda t: _lease(**TOO_LARGE), Code.BUDGET_EXCEEDED, kind="denied"),
    Refusal("lease", "half of what is left is less than one call", lambda t: _lease(max_output_tokens=10_000),
            Code.LEASE_TOO_SMALL, kind="denied"),
    Refusal("preflight", "the tenant is stopped", lambda t: Preflight(((reserve(), 1),)), Code.TENANT_STOPPED,
            before=Tenant.stop),
    Refusal("settle", "there is no such hold", lambda t: settle(NOTHING), Code.RESERVATION_NOT_FOUND, "reservation_id"),
    Refusal("settle", "the hold is settled already", lambda t: settle(t.settled, key="again"),
            Code.RESERVATION_NOT_OPEN, kind="quarantined"),
    Refusal("settle", "the hold was released", lambda t: settle(t.released, key="again"), Code.RESERVATION_NOT_OPEN,
            kind="quarantined"),
    Refusal("settle", "a part of a hold that was released", lambda t: settle(t.released, key="again", part=True),
            Code.RESERVATION_NOT_OPEN, kind="quarantined"),
    Refusal("settle", "the database refuses to book it", lambda t: _unbooked(settle(t.held)), Code.NOT_BOOKABLE,
            kind="quarantined"),
    Refusal("settle", "its key was used for another usage", lambda t: settle(t.settled, key="settle 3", tool="x"),
            Code.IDEMPOTENCY_CONFLICT, kind="quarantined"),
    Refusal("extend", "there is no such hold", lambda t: sealed(Extend("x", b"", NOTHING, 60)),
            Code.RESERVATION_NOT_FOUND, "reservation_id"),
    Refusal("extend", "the hold has ended", lambda t: sealed(Extend("x", b"", t.settled, 60)),
            Code.RESERVATION_NOT_OPEN),
    Refusal("release", "there is no such hold", lambda t: release(NOTHING), Code.RESERVATION_NOT_FOUND,
            "reservation_id"),
    Refusal("release", "the hold has ended", lambda t: release(t.settled), Code.RESERVATION_NOT_OPEN),
    Refusal("force_release", "there is no such hold", lambda t: sealed(ForceRelease("f", b"", NOTHING, "dead", "k")),
            Code.RESERVATION_NOT_FOUND, "reservation_id"),
    Refusal("force_release", "the hold has ended", lambda t: sealed(ForceRelease("f", b"", t.released, "dead", "k")),
            Code.RESERVATION_NOT_OPEN),
    Refusal("record", "there is no such run", lambda t: record(run_id=NOTHING), Code.RUN_NOT_FOUND, kind="quarantined"),
    Refusal("record", "it is older than 35 days", lambda t: record(occurred_at=NOW - timedelta(days=35, seconds=1)),
            Code.TIME_OUT_OF_RANGE, kind="quarantined"),
    Refusal("record", "it is more than 5 minutes ahead",
            lambda t: record(occurred_at=NOW + timedelta(minutes=5, seconds=1)), Code.TIME_OUT_OF_RANGE,
            kind="quarantined"),
    Refusal("record", "the database refuses to book it", lambda t: _unbooked(record()), Code.NOT_BOOKABLE,
            kind="quarantined"),
    Refusal("open_run", "the tenant is stopped", lambda t: _run(), Code.TENANT_STOPPED, before=Tenant.stop),
    Refusal("open_run", "the run to attach to is of another user",
            lambda t: _run(external_id="thread", attach=True, user="eve"), Code.RUN_OF_ANOTHER, "user"),
    Refusal("open_run", "the run to attach to is of another cost center",
            lambda t: _run(external_id="thread", attach=True, cost_center="sales"), Code.RUN_OF_ANOTHER,
            "cost_center"),
    Refusal("open_run", "the run to attach to is no part of the parent",
            lambda t: _sub_run(t.run, external_id="thread", attach=True), Code.RUN_OF_ANOTHER, "parent_run_id"),
    Refusal("open_run", "there is no such parent", lambda t: _sub_run(NOTHING), Code.RUN_NOT_FOUND, "parent_run_id"),
    Refusal("open_run", "the parent is closed", lambda t: _sub_run(t.done), Code.RUN_NOT_OPEN, "parent_run_id"),
    Refusal("open_run", "a run that the parent is a part of is cancelled", lambda t: _sub_run(t.part),
            Code.RUN_NOT_OPEN, "parent_run_id"),
    Refusal("open_run", "the parent is the eighth already", lambda t: _sub_run(t.deep), Code.RUN_TOO_DEEP,
            "parent_run_id"),
    Refusal("open_run", "a split without tokens to split", lambda t: _run(shares=(Share("writer", 1),)),
            Code.INFEASIBLE_ALLOCATION, "limits.tokens"),
    Refusal("open_run", "the minimums are more than there is",
            lambda t: _run(limits=Limits(tokens=399), shares=(Share("a", 1, 200), Share("b", 1, 200))),
            Code.INFEASIBLE_ALLOCATION, "shares"),
    Refusal("end_run", "there is no such run", lambda t: sealed(EndRun("e", b"", NOTHING, RunState.CLOSED)),
            Code.RUN_NOT_FOUND, "run_id"),
    Refusal("step", "the tenant is stopped", lambda t: sealed(Step("s", b"", t.run)), Code.TENANT_STOPPED,
            before=Tenant.stop),
    Refusal("step", "there is no such run", lambda t: sealed(Step("s", b"", NOTHING)), Code.RUN_NOT_FOUND,
            "run_id"),
    Refusal("step", "the run is closed", lambda t: sealed(Step("s", b"", t.done)), Code.RUN_NOT_OPEN, "run_id"),
    Refusal("step", "the run has made all of its iterations", lambda t: sealed(Step("s", b"", t.spent)),
            Code.ITERATIONS_EXCEEDED),
    Refusal("rebalance", "there is no such run", lambda t: sealed(Rebalance("r", b"", NOTHING, (Share("a", 1),))),
            Code.RUN_NOT_FOUND, "run_id"),
    Refusal("rebalance", "the run is closed", lambda t: sealed(Rebalance("r", b"", t.done, (Share("a", 1),))),
            Code.RUN_NOT_OPEN, "run_id"),
    Refusal("rebalance", "the run has no limit in tokens",
            lambda t: sealed(Rebalance("r", b"", t.free, (Share("a", 1),))), Code.INFEASIBLE_ALLOCATION,
            "limits.tokens"),
    Refusal("rebalance", "the minimums are more than is left",
            lambda t: sealed(Rebalance("r", b"", t.run, (Share("a", 1, 10_001),))), Code.INFEASIBLE_ALLOCATION,
            "shares"),
    Refusal("change_run", "there is no such run",
            lambda t: sealed(ChangeRun("c", b"", NOTHING, Limits(5), None, "less", "k")), Code.RUN_NOT_FOUND, "run_id"),
    Refusal("change_run", "the run is closed",
            lambda t: sealed(ChangeRun("c", b"", t.done, Limits(5), None, "less", "k")), Code.RUN_NOT_OPEN, "run_id"),
    Refusal("create_budget", "its name is taken", lambda t: _budget(name="cap"), Code.BUDGET_EXISTS, "name"),
    Refusal("create_budget", "rollover from a window that does not end",
            lambda t: _budget(window=Window.TOTAL, rollover=Limits(5)), Code.INVALID_REQUEST, "rollover"),
    Refusal("change_budget", "there is no such budget in use", lambda t: _change_budget(NOTHING),
            Code.BUDGET_NOT_FOUND, "budget_id"),
    Refusal("replace_budget", "there is no such budget in use", lambda t: _replace_budget(NOTHING),
            Code.BUDGET_NOT_FOUND, "budget_id"),
    Refusal("replace_budget", "another has its name", lambda t: _replace_budget(BUDGET, name="taken"),
            Code.BUDGET_EXISTS, "name", before=lambda t: t.ledger.one(_budget(key="n", name="taken"))),
    Refusal("replace_budget", "rollover from a window that does not end",
            lambda t: _replace_budget(BUDGET, window=Window.RUN, rollover=Limits(5)), Code.INVALID_REQUEST,
            "rollover"),
    Refusal("archive_budget", "there is no such budget in use", lambda t: sealed(ArchiveBudget("a", b"", NOTHING)),
            Code.BUDGET_NOT_FOUND, "budget_id"),
    Refusal("give_grant", "there is no such account", lambda t: _grant(NOTHING), Code.ACCOUNT_NOT_FOUND,
            "account_id"),
    Refusal("give_grant", "the account's window has ended", lambda t: _grant(t.account), Code.ACCOUNT_CLOSED,
            "account_id", before=Tenant.close_windows),
    Refusal("give_grant", "the account has no limit in the unit", lambda t: _grant(t.account, amounts=Limits(nanos=5)),
            Code.NO_LIMIT, "cost"),
    Refusal("give_grant", "it would end in the past", lambda t: _grant(t.account, expires_at=PAST),
            Code.TIME_OUT_OF_RANGE, "expires_at"),
    Refusal("give_grant", "there is no such budget in use", lambda t: _grant(None, budget_id=NOTHING, subject=ALL),
            Code.BUDGET_NOT_FOUND, "budget_id"),
    Refusal("give_grant", "accounts of the budget stand for other dimensions",
            lambda t: _grant(None, budget_id=BUDGET, subject=Subject({"user": "ada"})), Code.INVALID_REQUEST,
            "subject"),
    Refusal("give_grant", "the budget has no limit in the unit",
            lambda t: _grant(None, budget_id=EACH, subject=Subject({"user": "eve"}), amounts=Limits(nanos=5)),
            Code.NO_LIMIT, "cost"),
    Refusal("give_grant", "it would end in the past, on an account that is still to be made",
            lambda t: _grant(None, budget_id=EACH, subject=Subject({"user": "eve"}), expires_at=PAST),
            Code.TIME_OUT_OF_RANGE, "expires_at"),
    Refusal("give_grant", "no call was made in the run",
            lambda t: _grant(None, budget_id=PER_RUN, subject=Subject({"run": "7"})), Code.ACCOUNT_NOT_FOUND,
            "subject"),
    Refusal("ask_increase", "accounts of the budget stand for other dimensions",
            lambda t: sealed(AskIncrease("i", b"", None, Limits(tokens=5), "more", "k", BUDGET, Subject({"run": "7"}))),
            Code.INVALID_REQUEST, "subject"),
    Refusal("ask_increase", "there is no such account",
            lambda t: sealed(AskIncrease("i", b"", NOTHING, Limits(tokens=5), "more", "k")), Code.ACCOUNT_NOT_FOUND,
            "account_id"),
    Refusal("ask_increase", "the account's window has ended",
            lambda t: sealed(AskIncrease("i", b"", t.account, Limits(tokens=5), "more", "k")), Code.ACCOUNT_CLOSED,
            "account_id", before=Tenant.close_windows),
    Refusal("ask_increase", "the account has no limit in the unit",
            lambda t: sealed(AskIncrease("i", b"", t.account, Limits(nanos=5), "more", "k")), Code.NO_LIMIT, "cost"),
    Refusal("decide_increase", "there is no such increase", lambda t: _decide(NOTHING),
            Code.INCREASE_NOT_FOUND, "increase_id"),
    Refusal("decide_increase", "it was decided before", lambda t: _decide(t.decided), Code.INCREASE_DECIDED),
    Refusal("decide_increase", "the account's window has ended", lambda t: _decide(t.asked),
            Code.ACCOUNT_CLOSED, "account_id", before=Tenant.close_windows),
    Refusal("decide_increase", "its grant would end in the past", lambda t: _decide(t.asked, expires_at=PAST),
            Code.TIME_OUT_OF_RANGE, "expires_at"),
    Refusal("reverse", "nothing is booked under the key", lambda t: _reverse(), Code.BOOKING_NOT_FOUND,
            "booked_key"),
    Refusal("reverse", "the hold is open", lambda t: _reverse(t.event, reservation_id=t.held), Code.RESERVATION_OPEN,
            "booked_key"),
    Refusal("reverse", "an event is no longer kept", lambda t: _reverse(t.event, NOTHING), Code.BOOKING_NOT_FOUND,
            "booked_key"),
    Refusal("reverse", "calls of the lease are no longer kept", lambda t: _reverse(t.event, is_complete=False),
            Code.BOOKING_NOT_FOUND, "booked_key"),
    Refusal("reverse", "more was booked than a batch can take back", lambda t: _reverse(*range(10_001)),
            Code.INVALID_REQUEST, "booked_key"),
    Refusal("reverse", "it was reversed before, under another key", lambda t: _reverse(t.event, key="again"),
            Code.BOOKING_REVERSED, "booked_key", before=lambda t: t.ledger.one(_reverse(t.event))),
    Refusal("recost", "all calls of the tenant would add up to more than the largest amount", _recost,
            Code.NOT_BOOKABLE, before=lambda t: setattr(t.ledger.books.loaded, "booked_nanos", LARGEST_AMOUNT)),
    Refusal("rename_model", "it has that name in the books already", lambda t: _rename("large", "large-latest"),
            Code.INVALID_REQUEST, "becomes"),
    Refusal("rename_model", "budgets in use select the old name and not the new one", lambda t: _rename(),
            Code.INVALID_REQUEST, "asked", before=lambda t: t.ledger.one(_budget(selector=(("model", "small"),)))),
    Refusal("rename_model", "more accounts would go along than one change can carry", lambda t: _rename(),
            Code.INVALID_REQUEST, "asked", before=Tenant.fill_accounts),
    Refusal("rename_model", "an account would have more than the largest amount", lambda t: _rename(),
            Code.INVALID_REQUEST, "becomes", before=lambda t: t.fill_accounts(1)),
    Refusal("set_price", "the tenant has as many prices as it may have", lambda t: _price(),
            Code.INVALID_REQUEST, before=Tenant.fill_price_terms),
    Refusal("set_discount", "it would end before it begins", lambda t: _discount(NOW), Code.INVALID_REQUEST,
            "valid_until"),
    Refusal("set_discount", "the tenant has as many discounts as it may have", lambda t: _discount(),
            Code.INVALID_REQUEST, before=Tenant.fill_price_terms),
    Refusal("set_alias", "no price is known for the model that it would stand for", lambda t: _alias("unheard-of"),
            Code.UNKNOWN_MODEL, "stands_for"),
    Refusal("set_alias", "the tenant has as many aliases as it may have", lambda t: _alias(),
            Code.INVALID_REQUEST, before=Tenant.fill_price_terms),
    Refusal("set_model", "no price is known for the model", lambda t: _model("unheard-of"),
            Code.UNKNOWN_MODEL, "model"),
    Refusal("set_model", "the tenant has said as much of models as it may", lambda t: _model(),
            Code.INVALID_REQUEST, before=Tenant.fill_price_terms),
    Refusal("erase_user", "the user is being erased already", lambda t: _erase(), Code.ERASURE_UNDER_WAY, "user",
            before=lambda t: t.ledger.one(_erase(key="first"))),
    Refusal("erase_user", "no row has the name", lambda t: _erase(known=False), Code.USER_NOT_FOUND, "user"),
    Refusal("set_calendar", "it would begin in less than 5 minutes",
            lambda t: sealed(SetCalendar("c", b"", CalendarRule(UTC), "k", NOW + timedelta(minutes=4))),
            Code.TIME_OUT_OF_RANGE, "effective_from"),
    Refusal("set_calendar", "it would begin in more than two years",
            lambda t: sealed(SetCalendar("c", b"", CalendarRule(UTC), "k", NOW + timedelta(days=732))),
            Code.TIME_OUT_OF_RANGE, "effective_from"),
    Refusal("any verb", "its key was used for another request", lambda t: reserve(key="hold 1", max_output_tokens=499),
            Code.IDEMPOTENCY_CONFLICT, "max_output_tokens"),
)  # fmt: skip

ACCEPTED: tuple[tuple[str, Callable[[Tenant], Any]], ...] = (
    ("reserve", lambda t: reserve()),
    ("reserve", lambda t: reserve(run_id=t.run)),
    ("lease", lambda t: _lease()),
    ("preflight", lambda t: Preflight(((reserve(), 1),))),
    ("settle", lambda t: settle(t.held)),
    ("settle", lambda t: settle(t.held, part=True)),
    ("extend", lambda t: sealed(Extend("x", b"", t.held, 60))),
    ("release", lambda t: release(t.held)),
    ("force_release", lambda t: sealed(ForceRelease("f", b"", t.held, "dead", "k"))),
    ("record", lambda t: record(usage=replace(USED, cache_read_tokens=5_000))),
    ("open_run", lambda t: _sub_run(t.run)),
    ("open_run", lambda t: _run(external_id="thread", attach=True)),
    ("end_run", lambda t: sealed(EndRun("e", b"", t.done, RunState.CANCELLED))),
    ("step", lambda t: sealed(Step("s", b"", t.run))),
    ("rebalance", lambda t: sealed(Rebalance("r", b"", t.run, (Share("a", 1, 5),)))),
    ("change_run", lambda t: sealed(ChangeRun("c", b"", t.run, Limits(1), 0, "less", "k"))),
    ("create_budget", lambda t: _budget(rollover=Limits(5))),
    ("change_budget", lambda t: _change_budget(BUDGET, limits=Limits(1), enforcement=Enforcement.SOFT)),
    ("replace_budget", lambda t: _replace_budget(BUDGET, name="cap", window=Window.TOTAL)),
    ("archive_budget", lambda t: sealed(ArchiveBudget("a", b"", BUDGET))),
    ("give_grant", lambda t: _grant(t.account, expires_at=FUTURE)),
    ("reverse", lambda t: _reverse(t.event, reservation_id=t.settled)),
    ("recost", _recost),
    ("ask_increase", lambda t: sealed(AskIncrease("i", b"", t.account, Limits(tokens=5), "more", "k"))),
    ("decide_increase", lambda t: _decide(t.asked)),
    ("rename_model", lambda t: _rename()),
    ("set_price", lambda t: _price()),
    ("set_alias", lambda t: _alias()),
    ("set_discount", lambda t: _discount()),
    ("set_model", lambda t: _model()),
    ("erase_user", lambda t: _erase()),
    ("set_calendar", lambda t: sealed(SetCalendar("c", b"", CalendarRule(UTC), "k", FUTURE))),
    ("any verb", lambda t: reserve(key="hold 1")),
)
