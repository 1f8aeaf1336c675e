"""What the fake service remembers: budgets, runs, holds, calls, denials, and the keys of requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ..providers import Usage
from .accounts import NOTHING, Account, Amounts, FakeBudget, Limit, minus, plus
from .prices import ModelPrice, nanos_of
from .problems import FakeProblem, missing

Answer = Callable[[bool], dict[str, Any]]
"""What answers a request, from what is known by then; the argument says whether it is a repetition."""


class Clock:
    """The clock of the fake service, which stands still until a test moves it."""

    def __init__(self, now: datetime = datetime(2030, 1, 7, 12, tzinfo=UTC)) -> None:
        self.now = now

    def advance(self, seconds: float) -> None:
        """Let time pass: holds expire and windows end."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """What was booked: a call of a model (`kind` is "llm_call"), of a tool ("tool_call"), or a "cache_hit".

    `cost` is in US dollars. `estimated`, `failed`, `measured` and `response_id` are what its settle said.
    """

    event_id: str
    kind: str
    user: str
    agent_type: str
    cost_center: str
    request_type: str
    provider: str | None
    model: str | None
    usage: Usage
    cost: Decimal
    run_id: str | None = None
    reservation_id: str | None = None
    tool: str | None = None
    tool_source: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    estimated: bool = False
    failed: bool = False
    part: bool = False
    late: bool = False
    overrun: bool = False
    unpriced: bool = False
    response_id: str | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class FakeHold:
    """A hold; `state` is held, settled, released or expired, and `end_reason` why it was released."""

    reservation_id: str
    call: Mapping[str, Any]
    facts: Mapping[str, str]
    price: ModelPrice
    amounts: Amounts
    path: list[Account]
    created_at: datetime
    expires_at: datetime
    warnings: list[dict[str, Any]]
    calls: int | None = None
    state: str = "held"
    end_reason: str | None = None
    drawn: Amounts = NOTHING
    drawn_uncached: int = 0
    parts: Usage = field(default_factory=lambda: Usage(0, 0))

    @property
    def remaining(self) -> Amounts:
        """What is still set aside."""
        tokens, nanos, calls = minus(self.amounts, self.drawn)
        return max(0, tokens), max(0, nanos), max(0, calls)

    @property
    def uncached(self) -> int:
        """How many of the tokens were not expected from the provider's cache."""
        cached: int = self.call.get("cached_input_tokens", 0)
        return self.amounts[0] - cached * (self.calls or 1)

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.call["model"])

    @property
    def run_id(self) -> str | None:
        """The run that the call is part of."""
        return self.call.get("run_id")


@dataclass(slots=True, eq=False)
class FakeRun:
    """A run; `lineage` are the runs that it is a part of and itself, the first one first."""

    run_id: str
    user: str
    cost_center: str
    external_id: str | None
    strict: bool
    created_at: datetime
    account: Account
    allocations: dict[str, Account]
    ancestors: tuple[FakeRun, ...] = ()
    most_iterations: int | None = None
    iterations: int = 0
    state: str = "open"
    ended_at: datetime | None = None

    @property
    def lineage(self) -> tuple[FakeRun, ...]:
        """The runs that a call of this one counts for."""
        return (*self.ancestors, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDenial:
    """A call that was denied."""

    code: str
    call: Mapping[str, Any]
    refusals: tuple[dict[str, Any], ...]


class FakeBooks:
    """All that the fake service knows."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.budgets: list[FakeBudget] = []
        self.prices: dict[tuple[str, str], ModelPrice] = {}
        self.default_price: ModelPrice | None = None
        self.runs: dict[str, FakeRun] = {}
        self.holds: dict[str, FakeHold] = {}
        self.calls: list[RecordedCall] = []
        self.denials: list[FakeDenial] = []
        self.stopped: str | None = None
        self._keys: dict[tuple[str, str], tuple[str, Answer]] = {}
        self._responses: dict[str, list[RecordedCall]] = {}
        self._numbered = 0

    def number(self) -> int:
        """Return an id that was never given."""
        self._numbered += 1
        return 65_536 * self._numbered

    def once(self, verb: str, body: Mapping[str, Any], do: Callable[[], Answer]) -> dict[str, Any]:
        """Do what a request asks, unless its key was used before; `do` returns what answers it, and a repetition."""
        key = body.get("idempotency_key")
        print_ = json.dumps({name: value for name, value in body.items() if name != "idempotency_key"}, sort_keys=True)
        if key is None:
            return do()(False)
        known = self._keys.get((verb, key))
        if known is None:
            answer = do()
            self._keys[verb, key] = (print_, answer)
            return answer(False)
        if known[0] != print_:
            before = json.loads(known[0])
            field = next((name for name, value in body.items() if before.get(name, value) != value), "idempotency_key")
            detail = f"the idempotency key {key!r} was used before for another request; use a new key for a new request"
            differs = f" ({field} differs)" if field != "idempotency_key" else ""
            raise FakeProblem(409, "idempotency_conflict", detail + differs, field=field)
        return known[1](True)

    def price_of(self, provider: str, model: str) -> ModelPrice | None:
        """Return what a model costs, None if nobody knows it."""
        return self.prices.get((provider, model)) or self.default_price

    def check_running(self) -> None:
        """Raise the problem of a tenant that was stopped."""
        if self.stopped is not None:
            detail = f"all calls of this tenant are stopped ({self.stopped}); wait until an administrator resumes them"
            raise FakeProblem(402, "tenant_stopped", detail, directive={"stop": True})

    def why_stop(self, run: FakeRun | None) -> str | None:
        """Return why no further call of a run, or of none, should be made; None if one may be."""
        if self.stopped is not None:
            return "tenant_stopped"
        return next(
            (f"run_{each.state}" for each in (() if run is None else run.lineage) if each.state != "open"), None
        )

    def open_run(self, run_id: str, field: str = "run_id") -> FakeRun:
        """Return a run that may go on; raises the problem of one that may not."""
        run = self.runs.get(run_id)
        if run is None:
            raise missing("run", run_id, field)
        for each in reversed(run.lineage):
            if each.state != "open":
                which = "the run" if each is run else f"run {each.run_id}, which it is a part of,"
                detail = f"{which} is {each.state}; open another run"
                raise FakeProblem(409, "run_not_open", detail, field=field, run_state=each.state, run_id=each.run_id)
        return run

    def facts_of(self, call: Mapping[str, Any], run: FakeRun | None) -> dict[str, str]:
        """Return what budgets select a call by."""
        given = {name: call.get(name) for name in ("agent_type", "provider", "model", "tool")}
        facts = {name: value for name, value in given.items() if isinstance(value, str)}
        facts["user"] = run.user if run is not None else call["user"]
        facts["cost_center"] = run.cost_center if run is not None else call.get("cost_center") or "unassigned"
        facts["request_type"] = call.get("request_type") or "chat"
        if run is not None:
            facts["run"] = run.run_id
        return facts | {f"tag.{name}": value for name, value in (call.get("tags") or {}).items()}

    def accounts_for(self, facts: Mapping[str, str], run: FakeRun | None) -> list[Account]:
        """Return the accounts that a call falls on: of its runs, their allocations, and of budgets."""
        accounts: list[Account] = []
        lineage = () if run is None else run.lineage
        for each in lineage:
            accounts.append(each.account)
            if facts["agent_type"] in each.allocations:
                accounts.append(each.allocations[facts["agent_type"]])
        for budget in self.budgets:
            by_run = "run" in budget.select or budget.window == "run"
            for run_id in [each.run_id for each in lineage] if by_run else [facts.get("run")]:
                seen = {**facts, "run": run_id} if run_id is not None else facts
                account = budget.account_of(seen, self.clock.now, self.number)
                if account is not None:
                    accounts.append(account)
        return accounts

    def run_of(self, call: Mapping[str, Any]) -> FakeRun | None:
        """Return the run of a call, whatever its state."""
        return self.runs.get(call.get("run_id") or "")

    def expire_due(self) -> None:
        """End the holds whose time is over."""
        for hold in self.holds.values():
            if hold.state == "held" and hold.expires_at <= self.clock.now:
                self.end(hold, "expired")

    def end(self, hold: FakeHold, state: str, reason: str | None = None) -> None:
        """End a hold and give back what it still sets aside."""
        if hold.state == "held":
            for account in hold.path:
                account.held = minus(account.held, hold.remaining)
                account.leases -= hold.calls is not None
            hold.end_reason = reason
        hold.state = state

    def book(self, call: RecordedCall, path: list[Account], amounts: Amounts) -> None:
        """Keep a call, and add it to what its accounts have settled."""
        self.calls.append(call)
        if call.response_id:
            self._responses.setdefault(call.response_id, []).append(call)
        for account in path:
            account.settled = plus(account.settled, amounts)

    def earlier(self, call: RecordedCall) -> RecordedCall | None:
        """Return what was booked of the same response, the same call first."""
        known = self._responses.get(call.response_id or "", [])
        same = [each for each in known if self.is_same(each, call)]
        return next(iter([*same, *known]), None)

    @staticmethod
    def is_same(one: RecordedCall, other: RecordedCall) -> bool:
        """Whether two calls of one response are one call."""
        return (one.model, one.usage) == (other.model, other.usage)

    def copied(self) -> FakeBooks:
        """Return books to try calls on, with the same balances, whose changes nobody sees."""
        tried = FakeBooks(self.clock)
        copies: dict[int, Account] = {}

        def copy(account: Account) -> Account:
            return copies.setdefault(account.account_id, replace(account))

        tried.prices, tried.default_price, tried.stopped = self.prices, self.default_price, self.stopped
        tried._numbered = self._numbered
        for budget in self.budgets:
            accounts = {key: copy(account) for key, account in budget.accounts.items()}
            tried.budgets.append(replace(budget, accounts=accounts))
        for run_id, run in self.runs.items():
            ancestors = tuple(tried.runs[each.run_id] for each in run.ancestors)
            shares = {name: copy(account) for name, account in run.allocations.items()}
            tried.runs[run_id] = replace(run, account=copy(run.account), allocations=shares, ancestors=ancestors)
        return tried


def limit_of(limits: Mapping[str, Any] | None) -> Limit:
    """Return limits as they are sent."""
    said = limits or {}
    cost = said.get("cost")
    return said.get("tokens"), None if cost is None else nanos_of(cost), said.get("calls")
