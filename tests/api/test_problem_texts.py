"""What the database says goes to the log, and a text of our own to the caller."""

import logging

import httpx2
import pytest

from tests.api.verbs import reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.api.problem_responses import problem_of
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable, Unstorable
from token_ledger.storage.database import DatabaseAway

POOL = "QueuePool limit of size 8 overflow 0 reached, connection timed out (Background: https://sqlalche.me/e/20/3o7r)"
ARGUMENT = "invalid input for query argument $3: [(1, 'the name of another user')] (value out of int64 range)"


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (DatabaseAway(f"the database can't be reached: {POOL}"), 503, "the database can't be reached"),
        (Unavailable(f"the database is too slow: {ARGUMENT}"), 503, "the database is too slow"),
        (OutcomeUnknown(f"the connection was lost at commit: {POOL}"), 503, "the connection to the database was lost"),
        (Unstorable(ARGUMENT), 422, "the database can't store a value of this request"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_database_is_quoted_in_the_log_and_not_in_the_answer(
    error: DatabaseAway | LedgerError, status: int, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        problem = problem_of(error)
    assert problem.status == status
    assert problem.detail.startswith(detail)
    for text in ("QueuePool", "sqlalche", "$3", "another user"):
        assert text not in str(problem.body())
    [record] = caplog.records
    assert record.__dict__["reason"] == str(error)


def test_what_we_say_ourselves_is_said_in_full_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    said = "12 operations of this key are waiting already; send less at a time and try again"
    assert problem_of(Unavailable(said)).detail == said
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/v1/reservations", "/v1/leases", "/v1/runs", "/v1/operations"])
async def test_an_error_that_nobody_foresaw_is_a_problem_and_reaches_the_log(
    path: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise LookupError("the words of a defect")

    monkeypatch.setattr(world.service, "submit", fail)
    bodies = {
        "/v1/leases": {**reservation(), "calls": 2},
        "/v1/runs": {"idempotency_key": fresh(), "user": "ada"},
        "/v1/operations": {"operations": [{"op": "reserve", **reservation()}]},
    }
    body = bodies.get(path, reservation())
    answer = await world.client.post(path, headers=world.headers(), json=body)
    check_problem(answer, 500, "internal_error")
    assert "defect" not in answer.text
    transport = httpx2.ASGITransport(world.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://ledger") as client:
        with pytest.raises(LookupError):  # uvicorn logs what the application raises
            await client.post(path, headers=world.headers(), json=body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/reservations", {**reservation(), "user": "ada\u200b"}),
        ("POST", "/v1/operations", {"operations": [{"op": "reserve", **reservation(), "user": "ada\u200b"}]}),
        ("POST", "/v1/budgets", {"idempotency_key": "b", "name": "b", "selector": {"user": "**"}, "limits": {},
                                 "window": "day"}),
        ("GET", "/v1/accounts?subject=x", None),
        ("GET", "/v1/accounts?subject=%7B%22user%22:%221%E2%80%8B%22%7D", None),
        ("GET", "/v1/reports/spend?from=nonsense", None),
        ("GET", "/v1/reports/spend?from=2026-13-01", None),
        ("GET", "/v1/reports/spend?from=1999-12-31", None),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_value_is_said_in_our_own_words(
    method: str, path: str, body: dict[str, object] | None, world: World
) -> None:
    answer = await world.client.request(method, path, json=body, headers=world.headers())
    assert "invalid_request" in answer.text
    assert "Value error" not in answer.text


@pytest.mark.parametrize("date", ["2026-13-01", "2026-02-30", "1999-12-31", "3000-01-01", "yesterday"])
async def test_a_wrong_date_is_answered_with_how_to_write_one(date: str, world: World) -> None:
    answer = await world.client.get(f"/v1/reports/spend?from={date}", headers=world.headers())
    problem = check_problem(answer, 422, "invalid_request", "from")
    assert "write a date such as 2026-11-21" in problem["detail"]
