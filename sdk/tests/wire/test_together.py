"""Requests as operations of a list, and the answers of a list as each alone would have been answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from token_ledger_sdk.wire import leases, operations, reservations, runs
from token_ledger_sdk.wire.answers import Answer
from token_ledger_sdk.wire.calls import Call, Scope
from token_ledger_sdk.wire.events import UsageEvent, reports
from token_ledger_sdk.wire.requests import ApiRequest, get
from token_ledger_sdk.wire.together import answers_of, can_travel, list_request

CALL: Call = {"agent_type": "a", "provider": "p", "model": "m", "input_tokens": 1, "max_output_tokens": 2}
RESERVE = reservations.reserve_request(CALL, Scope(user="ada"))
RELEASE = reservations.release_request('2"1', "why")


def test_an_operation_is_the_body_with_its_verb_and_its_id() -> None:
    request = list_request([RESERVE, RELEASE, reservations.extend_request("7", 60)])
    assert (request.method, request.path) == ("POST", "/v1/operations")
    reserve, release, extend = json.loads(request.content or b"")["operations"]
    assert reserve == {"op": "reserve", **json.loads(RESERVE.content or b"")}
    assert release == {"op": "release", "reservation_id": '2"1', "idempotency_key": 'release:2"1', "reason": "why"}
    assert (extend["op"], extend["reservation_id"], extend["ttl_seconds"]) == ("extend", "7", 60)


@pytest.mark.parametrize(
    ("request_", "travels"),
    [
        (RESERVE, True),
        (RELEASE, True),
        (leases.lease_request(CALL, Scope(user="ada"), calls=3), True),
        (reservations.reserve_request({**CALL, "tags": {"t": "ü"}}, Scope(user="ada")), True),
        (reservations.reserve_request({**CALL, "tags": {"t": "\ud83d"}}, Scope(user="ada")), False),
        (reservations.reserve_request({**CALL, "tags": {"t": "x" * 60_000}}, Scope(user="ada")), False),
        (runs.open_request({}, user="ada"), False),
        (runs.step_request("1"), False),
        (runs.read_request("1"), False),
        (operations.operations_request(["{}"]), False),
        (get("/v1/models"), False),
    ],
)
def test_what_travels(request_: ApiRequest, travels: bool) -> None:
    assert can_travel(request_) is travels


def test_reported_events_travel_in_lists_of_their_own() -> None:
    event = UsageEvent(source="s", agent_type="a", user="ada", provider="p", model="m", usage=None)  # type: ignore[arg-type]
    assert not can_travel(reports([event])[0].request)


def answer_of(*results: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"results": results}).encode())


def test_each_answer_is_as_it_would_be_alone() -> None:
    problem = {
        "status": 422,
        "detail": "operations.1.usage.input_tokens: too large",
        "errors": [{"field": "operations.1.usage.input_tokens", "message": "too large"}, {"field": "operations.1"}],
    }
    limited = {"status": 429, "body": {"status": 429, "detail": "slow down: 3 s"}, "retry_after": 3}
    answers = answers_of(answer_of({"status": 201, "body": {"a": 1}}, {"status": 422, "body": problem}, limited), 3)
    assert answers is not None
    good, invalid, late = answers
    assert (good.status, good.body, good.retry_after_seconds) == (201, {"a": 1}, None)
    assert invalid.body == {
        "status": 422,
        "detail": "usage.input_tokens: too large",
        "errors": [{"field": "usage.input_tokens", "message": "too large"}, {"field": ""}],
    }
    assert (late.status, late.retry_after_seconds, late.body) == (429, 3.0, limited["body"])


def test_a_whole_body_at_fault_is_named_as_alone() -> None:
    answers = answers_of(answer_of({"status": 422, "body": {"detail": "operations.0: give a user or a run"}}), 1)
    assert answers is not None
    assert answers[0].body == {"detail": "the body: give a user or a run"}


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_that_the_service_is_away_is_the_answer_to_each(status: int) -> None:
    answer = Answer(status, b"<html>", 2.0)
    assert answers_of(answer, 2) == [answer, answer]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b"{}"), Answer(401, b"{}"), Answer(404, b"<html>"), Answer(413, b"{}"), Answer(302, b""),
        Answer(200, b"<html>"), Answer(200, b"[]"), Answer(200, b'{"results": null}'), answer_of({"status": 200}),
        answer_of(), answer_of({"status": "200", "body": {}}), answer_of({"status": 200, "body": []}),
        answer_of({"status": 200, "body": {}}, {"status": 200, "body": {}}),
    ],
)  # fmt: skip
def test_after_any_other_answer_each_is_sent_by_itself(answer: Answer) -> None:
    assert answers_of(answer, 1) is None
