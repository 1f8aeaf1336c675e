"""A fake service in memory, for tests of code that uses the SDK: it answers as the real one does, without a database.

It has budgets, runs, leases, prices and idempotency; no triggers, grants, rollover, thresholds, calendars of other
zones, tiers of prices or rules for bodies. It is one tenant, and believes every key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from threading import RLock
from typing import Any

import httpx2

from .._async.client import AsyncTokenLedger
from .._sync.client import TokenLedger
from . import holds, reports, runs
from .accounts import WINDOWS, FakeBudget
from .books import Clock, FakeBooks, FakeDenial, FakeHold, FakeRun, RecordedCall, limit_of
from .prices import ModelPrice
from .problems import FakeProblem
from .server import serving

URL = "http://token-ledger.test"
KEY = "tl_test_1_fake"
_AT_ONCE: Mapping[str, Any] = {"max_retries": 0, "flush_seconds": 0, "spool": False}
_TENANT = "1"


class FakeService:
    """The service, for tests: `client()` and `async_client()` are clients of it, wrapped clients included.

    Every model costs 1 dollar for a million tokens of input and 4 of output unless `price` says otherwise; with
    `only_priced` models without a price are unknown, as they are to the real service. `calls` are what was booked.
    """

    def __init__(self, *, only_priced: bool = False, now: datetime | None = None) -> None:
        self.clock = Clock() if now is None else Clock(now)
        self.requests: list[httpx2.Request] = []
        self._books = FakeBooks(self.clock)
        if not only_priced:
            self._books.default_price = ModelPrice(input=Decimal(1), output=Decimal(4))
        self._failures: list[int | Exception] = []
        self._lock = RLock()

    # What a test sets

    def budget(
        self,
        name: str,
        *,
        tokens: int | None = None,
        cost: Decimal | str | None = None,
        calls: int | None = None,
        select: Mapping[str, str | Sequence[str]] | None = None,
        window: str = "total",
        enforcement: str = "hard",
    ) -> FakeBudget:
        """Limit the calls that `select` selects, by user, agent_type, model, tool, run, tag.NAME, …; "*" means each.

        Windows are "total", "hour", "day", "week", "month" and "run", in UTC; `enforcement` is "hard", "soft" or
        "shadow". What the budget returns has `deny()` and `allow()`.
        """
        if window not in WINDOWS:
            raise ValueError(f"window is {window!r}: give one of {', '.join(WINDOWS)}")
        limit = limit_of({"tokens": tokens, "cost": cost, "calls": calls})
        made = FakeBudget(name, dict(select or {}), limit, window, enforcement)
        self._books.budgets.append(made)
        return made

    def deny(self, select: Mapping[str, str | Sequence[str]] | None = None) -> FakeBudget:
        """Deny every call that `select` selects, until `allow()` of what is returned."""
        denying = self.budget("denied on demand", select=select)
        denying.deny()
        return denying

    def price(self, provider: str, model: str, price: ModelPrice) -> None:
        """Let a model have a price, limits and capabilities."""
        self._books.prices[provider, model] = price

    def stop(self, reason: str) -> None:
        """Stop every call, as an operator does."""
        self._books.stopped = reason

    def resume(self) -> None:
        """Take back the stop."""
        self._books.stopped = None

    def fail(self, failure: int | Exception, times: int = 1) -> None:
        """Answer the next requests with an error status, or let them raise, such as `httpx2.ConnectError("away")`."""
        self._failures += [failure] * times

    # What a test reads

    @property
    def calls(self) -> list[RecordedCall]:
        """What was booked, in that order."""
        return self._books.calls

    @property
    def holds(self) -> list[FakeHold]:
        """All holds and leases, with their states."""
        return [*self._books.holds.values()]

    @property
    def denials(self) -> list[FakeDenial]:
        """The calls that were denied."""
        return self._books.denials

    @property
    def runs(self) -> list[FakeRun]:
        """All runs."""
        return [*self._books.runs.values()]

    # Clients

    @property
    def transport(self) -> httpx2.MockTransport:
        """What a client of yours can be given as its `transport`."""
        return httpx2.MockTransport(self.answer)

    def client(self, **options: Any) -> TokenLedger:
        """Return a client of this service; close it, or use it as a block.

        Unless `options` say otherwise, it tries nothing again, and what a guarded call used is booked when it returns.
        """
        return TokenLedger(URL, KEY, transport=self.transport, **{**_AT_ONCE, **options})

    def async_client(self, **options: Any) -> AsyncTokenLedger:
        """Return an asynchronous client of this service."""
        return AsyncTokenLedger(URL, KEY, transport=self.transport, **{**_AT_ONCE, **options})

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer at a local port within the block, for clients that only have an address; returns it.

        Set it as TOKEN_LEDGER_URL, with any TOKEN_LEDGER_KEY of the right form, such as `KEY` of this module.
        """
        with serving(self.answer) as address:
            yield address

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        with self._lock:
            self.requests.append(request)
            if self._failures:
                failure = self._failures.pop(0)
                if isinstance(failure, Exception):
                    raise failure
                return _problem(FakeProblem(failure, _CODES.get(failure, "http_error"), "asked for by the test"))
            self._books.expire_due()
            try:
                body = json.loads(request.content) if request.content else {}
                status, said = self._route(request.method, request.url, body)
            except FakeProblem as problem:
                return _problem(problem)
        if request.url.path.endswith("/events") and request.method == "GET":
            return _stream(said)
        tag = f'"{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}"'
        if request.method == "GET" and request.headers.get("If-None-Match") == tag:
            return httpx2.Response(304, headers={"ETag": tag})
        return httpx2.Response(status, json=said, headers={"ETag": tag} if request.method == "GET" else None)

    def _route(self, method: str, url: httpx2.URL, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        books = self._books
        match method, *url.path.split("/")[2:]:
            case "POST", "reservations":
                return 201, holds.reserve(books, body)
            case "POST", "leases":
                return 201, holds.lease(books, body)
            case "POST", "reservations", reservation_id, ("settle" | "release" | "extend") as verb:
                return 200, _VERBS[verb](books, reservation_id, body)
            case "POST", "operations":
                results = [self._operation(each) for each in body["operations"]]
                return 200, {"tenant": _TENANT, "role": "agent", "results": results}
            case "POST", "runs":
                return 201, runs.open_run(books, body)
            case "GET", "runs", run_id:
                return 200, runs.read_run(books, run_id)
            case "GET", "runs", run_id, "events":
                return 200, runs.run_news(books, run_id)
            case "POST", "runs", run_id, "steps":
                return 201, runs.step(books, run_id, body)
            case "POST", "runs", run_id, "rebalance":
                return 200, runs.rebalance(books, run_id, body)
            case "POST", "runs", run_id, ("cancel" | "close") as verb:
                return 200, runs.end_run(books, run_id, {"cancel": "cancelled", "close": "closed"}[verb])
            case "POST", "preflight":
                return 200, reports.preflight(books, body)
            case "POST", ("usage" | "events"):
                return 200, reports.record(books, body)
            case "GET", "models":
                return 200, self._models(url.params.get("provider"), url.params.get("model"))
        raise FakeProblem(404, "not_found", f"the fake service has no {method} {url.path}")

    def _operation(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in operation.items() if name not in ("op", "reservation_id")}
        verb = operation.get("op")
        try:
            if verb not in ("event", *_GRANTING, *_VERBS):
                raise FakeProblem(422, "invalid_request", f"the fake service has no operation {verb!r}")
            if verb in _GRANTING:
                return {"status": 201, "body": _GRANTING[verb](self._books, body)}
            if verb == "event":
                return {"status": 200, "body": reports.record(self._books, {"events": [body]})["results"][0]}
            return {"status": 200, "body": _VERBS[verb](self._books, operation["reservation_id"], body)}
        except FakeProblem as problem:
            return {"status": problem.status, "body": problem.body()}

    def _models(self, provider: str | None, model: str | None) -> dict[str, Any]:
        known = {
            name: price
            for name, price in self._books.prices.items()
            if provider in (None, name[0]) and model in (None, name[1])
        }
        models = [
            {
                "provider": name[0],
                "model": name[1],
                "context_tokens": price.context_tokens,
                "max_output_tokens": price.max_output_tokens,
                "capabilities": None if price.capabilities is None else [*price.capabilities],
                "deprecated": None,
                "end_of_life": None,
            }
            for name, price in sorted(known.items())
        ]
        return {"models": models, "next": None}


_VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "settle": holds.settle,
    "release": holds.release,
    "extend": holds.extend,
}
_GRANTING: dict[str, Callable[..., dict[str, Any]]] = {"reserve": holds.reserve, "lease": holds.lease}
_CODES = {401: "unauthenticated", 403: "forbidden", 429: "rate_limited", 500: "internal_error", 503: "unavailable"}


def _stream(news: Mapping[str, Any]) -> httpx2.Response:
    """Return a stream that ends at once: whoever listens asks again, and is told of changes then."""
    text = f"event: run\ndata: {json.dumps(news)}\n\n"
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def _problem(problem: FakeProblem) -> httpx2.Response:
    headers = {"Content-Type": "application/problem+json"}
    return httpx2.Response(problem.status, content=json.dumps(problem.body()), headers=headers)
