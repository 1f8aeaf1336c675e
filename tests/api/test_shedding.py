"""What a request asks for is told from its body before that is parsed; what reports anything is never refused so."""

import json
from typing import Any

import pytest

from token_ledger.api.routes import operations
from token_ledger.api.routes.preflight import router as preflight
from token_ledger.api.routes.runs import router as runs
from token_ledger.api.shedding import asked_for

RESERVE = {"op": "reserve", "user": "ada"}


@pytest.mark.parametrize("op", sorted({*operations.OPERATIONS, "event"} - {"reserve", "lease"}))
def test_a_list_with_anything_but_reserves_and_leases_is_decided_one_by_one(op: str) -> None:
    assert asked_for("/v1/operations", body(RESERVE, {"op": op}, RESERVE)) == 0


def test_a_list_of_reserves_and_leases_asks_for_each() -> None:
    assert asked_for("/v1/operations", body(RESERVE, {"op": "lease"}, RESERVE)) == 3


@pytest.mark.parametrize("path", ["/v1/reservations", "/v1/leases", "/v1/preflight", "/v1/runs"])
def test_new_holds_plans_and_runs_are_asked_for_by_their_paths(path: str) -> None:
    assert asked_for(path, b"{}") == 1
    named = {operation.path for operation in operations.HOT}
    named |= {getattr(route, "path", "") for router in (preflight, runs) for route in router.routes}
    assert path in named


@pytest.mark.parametrize("path", ["/v1/reservations/7/settle", "/v1/reservations/7/release", "/v1/events", "/v1/stop"])
def test_whatever_else_is_sent_asks_for_nothing(path: str) -> None:
    assert asked_for(path, body(RESERVE)) == 0


def body(*operations: dict[str, Any]) -> bytes:
    return json.dumps({"operations": operations}).encode()
