"""A fake Token Ledger behind the HTTP transport: it records requests and answers in the wire format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import AsyncTokenLedger, TokenLedger
from token_ledger_sdk.calibration import learned

DATA = Path(__file__).parent / "data"
URL = "http://ledger.test"
NOW = "2026-11-20T12:00:00Z"
NO_AMOUNTS = {"tokens": None, "cost": None, "calls": None}
BALANCE = {
    "limit": {"tokens": 50_000, "cost": "1.50", "calls": None},
    "settled": {"tokens": 0, "cost": "0.000000000", "calls": 0},
    "held": {"tokens": 0, "cost": "0.000000000", "calls": 0},
    "available": {"tokens": 50_000, "cost": "1.500000000", "calls": None},
}
REFUSAL = {
    "account_id": "71",
    "budget": "daily",
    "enforcement": "hard",
    "subject": {"user": "ana"},
    "unit": "tokens",
    "limit": 1000,
    "settled": 700,
    "held": 180,
    "available": 120,
    "requested": 1700,
    "window_start": "2026-11-20T00:00:00+01:00",
    "window_end": None,
}


_numbers = count()


class FakeLedger:
    """Answers by path, after the responses and exceptions in `script`."""

    def __init__(self) -> None:
        self.script: list[httpx2.Response | Exception] = []
        self.requests: list[httpx2.Request] = []
        self.provider = "openai"
        self.role = "agent"
        self.directive: dict[str, Any] = {"model": "gpt-5-mini", "max_output_tokens": 500, "stop": False}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request; operations that are sent in a list are requests of their own, in `requests` too."""
        if request.url.path == "/v1/operations":
            results = [self._operate(each, request) for each in json.loads(request.content)["operations"]]
            return httpx2.Response(200, json={"tenant": "7", "role": self.role, "results": results})
        self.requests.append(request)
        if self.script:
            outcome = self.script.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        return self.answer(request)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return the ordinary answer for a path."""
        match request.url.path.split("/")[2:]:
            case ["runs"]:
                return httpx2.Response(201, json=self.run("open", self.body(-1)))
            case ["runs", _]:
                return httpx2.Response(200, json=self.run("open", {}))
            case ["runs", run_id, "steps"]:
                step = {"run_id": run_id, "step_id": "51", "iteration": 1, "iterations": {"taken": 1, "limit": None}}
                return httpx2.Response(201, json=step)
            case ["runs", _, "rebalance"]:
                return httpx2.Response(200, json=self.run("open", self.body(-1)))
            case ["runs", _, verb]:
                state = {"cancel": "cancelled", "close": "closed"}[verb]
                return httpx2.Response(200, json=self.run(state, {}))
            case ["reservations"]:
                return httpx2.Response(201, json=self.reservation("held"))
            case ["reservations", _, "release"]:
                return httpx2.Response(200, json=self.reservation("released"))
            case ["reservations", _, "settle"]:
                return httpx2.Response(200, json=self.settlement())
            case ["usage"]:
                booked = {"status": "booked", "event_id": "5", "cost": "0.000100000", "tokens": 12}
                refused = {"status": "quarantined", "quarantine_id": "6", "code": "too_old", "detail": "2019"}
                sent = len(self.body(-1)["events"])
                return httpx2.Response(200, json={"results": ([booked, refused] * sent)[:sent]})
        return self.problem(404, "not_found")

    def _operate(self, operation: dict[str, Any], request: httpx2.Request) -> dict[str, Any]:
        if "op" not in operation:
            return {"status": 422, "body": json.loads(self.problem(422, "invalid_request").content)}
        verb, number = operation.pop("op"), operation.pop("reservation_id", None)
        path, body = f"/v1/reservations/{number}/{verb}", operation
        if verb == "event":
            path, body = "/v1/usage", {"events": [operation]}
        elif number is None:
            path = {"reserve": "/v1/reservations", "lease": "/v1/leases"}[verb]
        answer = self(httpx2.Request("POST", request.url.copy_with(path=path), json=body))
        told = answer.json() if answer.headers.get("Content-Type", "").startswith("application/") else {}
        return {"status": answer.status_code, "body": told["results"][0] if "results" in told else told}

    def run(self, state: str, body: dict[str, Any]) -> dict[str, Any]:
        parts = [{"agent_type": part["agent_type"], "balance": BALANCE} for part in body.get("allocation", [])]
        return {
            "run_id": "11",
            "external_id": body.get("external_id"),
            "state": state,
            "user": body.get("user", "ana"),
            "cost_center": "unassigned",
            "strict": False,
            "created_at": NOW,
            "ended_at": None,
            "balance": BALANCE,
            "allocations": parts,
            "replayed": False,
            "a_field_of_tomorrow": 1,
        }

    def reservation(self, state: str) -> dict[str, Any]:
        return {
            "reservation_id": "21",
            "state": state,
            "created_at": NOW,
            "expires_at": "2026-11-20T12:05:00Z",
            "run_id": "11",
            "held": {"tokens": 1700, "cost": "0.001250000", "calls": 1},
            "provider": self.provider,
            "model": self.directive["model"],
            "directive": self.directive,
            "warnings": [],
            "replayed": False,
        }

    def settlement(self) -> dict[str, Any]:
        return {
            "reservation_id": "21",
            "event_id": "31",
            "state": "settled",
            "cost": "0.000417500",
            "tokens": 1300,
            "overrun": False,
            "late": False,
            "unpriced": False,
            "clamped": False,
            "replayed": False,
        }

    def problem(self, status: int, code: str, headers: dict[str, str] | None = None, **extra: Any) -> httpx2.Response:
        body = {
            "type": f"urn:token-ledger:{code}",
            "title": code,
            "status": status,
            "detail": "",
            "code": code,
        }
        given = {"Content-Type": "application/problem+json", **(headers or {})}
        return httpx2.Response(status, content=json.dumps(body | extra), headers=given)

    def denial(self) -> httpx2.Response:
        directive = {"stop": True}
        fits = {"max_output_tokens": 64}
        return self.problem(402, "budget_exceeded", denial_id="41", refusals=[REFUSAL], fits=fits, directive=directive)

    def body(self, index: int) -> dict[str, Any]:
        """Decode the body of one request."""
        body: dict[str, Any] = json.loads(self.requests[index].content)
        return body

    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def own_spool(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a test leaves unsent is no other test's."""
    directory = tmp_path_factory.getbasetemp() / f"spool-{next(_numbers)}"
    monkeypatch.setenv("TOKEN_LEDGER_SPOOL", str(directory))
    return directory


@pytest.fixture(autouse=True)
def nothing_learned() -> None:
    """What one test's answers were charged must not change how the next one's requests are counted."""
    learned.forget()


@pytest.fixture
def service() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def client(service: FakeLedger) -> Iterator[TokenLedger]:
    with TokenLedger(URL, "tl_test_1_secret", transport=httpx2.MockTransport(service), flush_seconds=0) as ledger:
        yield ledger


@pytest.fixture
def async_client(service: FakeLedger) -> AsyncTokenLedger:
    # MockTransport holds no connections, so nothing is left open if a test does not close this.
    return AsyncTokenLedger(URL, "tl_test_1_secret", transport=httpx2.MockTransport(service), flush_seconds=0)


@pytest.fixture
def call() -> dict[str, Any]:
    """The smallest call that can be reserved."""
    return {
        "agent_type": "data_agent",
        "provider": "openai",
        "model": "gpt-5-mini",
        "input_tokens": 1_200,
        "max_output_tokens": 500,
    }


@cache
def archived() -> dict[str, str]:
    """Return the recorded responses that have no file of their own, by the name of their file."""
    with gzip.open(DATA / "others.jsonl.gz", "rt", encoding="utf-8", newline="") as lines:
        return {each["file"]: each["body"] for each in map(json.loads, lines)}


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], str]:
    """Read one recorded response by its number."""

    def read(number: str) -> str:
        for path in DATA.glob(f"{number}_*"):
            return path.read_text(encoding="utf-8")
        (body,) = (body for name, body in archived().items() if name.startswith(f"{number}_"))
        return body

    return read
