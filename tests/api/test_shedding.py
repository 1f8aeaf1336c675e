"""What a request asks for is told from its body before that is parsed; what reports anything is never refused so."""

import json
from typing import Any

import pytest

from tests.api.verbs import reservation
from token_ledger.api.routes import operations
from token_ledger.api.routes.events import router as events
from token_ledger.api.routes.preflight import router as preflight
from token_ledger.api.routes.runs import router as runs
from token_ledger.api.shedding import only_asks, operations_in

RESERVE = {"op": "reserve", "user": "ada"}
WHOLE = {"op": "reserve", **reservation()}
TAGGED = {**WHOLE, "tags": {"feature": "search"}}
SETTLE = {"op": "settle", "reservation_id": "7", "usage": {"input_tokens": 1, "output_tokens": 1}}
PATHS = {route.path for route in operations.HOT} | {
    getattr(route, "path", "") for router in (events, preflight, runs) for route in router.routes
}


@pytest.mark.parametrize("op", sorted({*operations.OPERATIONS, "event"} - {"reserve", "lease"}))
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",", " \t\n:\r ")])
def test_a_list_with_anything_but_reserves_and_leases_may_report(op: str, separators: tuple[str, str]) -> None:
    assert not only_asks("/v1/operations", body(RESERVE, {"op": op}, RESERVE, separators=separators))


def test_a_list_of_reserves_and_leases_only_asks() -> None:
    assert only_asks("/v1/operations", body(RESERVE, {"op": "lease"}, {**RESERVE, "user": "settle"}))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (",\n", " : ")])
@pytest.mark.parametrize("asked", [WHOLE, TAGGED, {"op": "lease", **reservation(), "calls": 2}])
def test_a_list_of_whole_operations_is_seen_through(asked: dict[str, Any], separators: tuple[str, str]) -> None:
    op_last = {name: value for name, value in asked.items() if name != "op"} | {"op": asked["op"]}
    settle_last = {name: value for name, value in SETTLE.items() if name != "op"} | {"op": "settle"}
    for each in asked, op_last:
        assert only_asks("/v1/operations", body(*[each] * 5, separators=separators))
        for report in SETTLE, settle_last:
            for position in range(4):
                operations = [each] * 3
                operations.insert(position, report)
                assert not only_asks("/v1/operations", body(*operations, separators=separators))


def test_an_operation_that_begins_like_a_reserve_is_none() -> None:
    assert not only_asks("/v1/operations", body({"op": "reserve_all"}))


@pytest.mark.parametrize("path", ["/v1/reservations", "/v1/leases", "/v1/preflight", "/v1/runs"])
def test_new_holds_plans_and_runs_are_asked_for_by_their_paths(path: str) -> None:
    assert only_asks(path, b"{}")
    assert path in PATHS


@pytest.mark.parametrize("path", ["/v1/reservations/7/settle", "/v1/reservations/7/release", "/v1/events", "/v1/stop"])
def test_whatever_else_is_sent_asks_for_nothing(path: str) -> None:
    assert not only_asks(path, body(RESERVE))


@pytest.mark.parametrize(("path", "most"), [("/v1/operations", 100), ("/v1/events", 80), ("/v1/usage", 80)])
def test_a_list_has_as_many_operations_as_its_size_says(path: str, most: int) -> None:
    assert path in PATHS
    assert [operations_in(path, size) for size in (0, 100, 16_000)] == [1, 1, most]
    assert operations_in("/v1/reservations", 16_000) == 1


def body(*operations: dict[str, Any], separators: tuple[str, str] = (", ", ": ")) -> bytes:
    return json.dumps({"operations": operations}, separators=separators).encode()
