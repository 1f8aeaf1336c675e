"""Imports over HTTP: what the command does, for files that fit into a request."""

import base64
import io
from typing import Any, get_args

import pytest

from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.imports.kinds import KINDS
from token_ledger.proof.verify import verify_database
from token_ledger.wire.bodies.imports import Kind

HEADER = "when,user,model,in,out\n"
MAPPING = {
    "columns": {
        "occurred_at": "when", "user": "user", "model": "model", "input_tokens": "in", "output_tokens": "out"
    },
    "constants": {"provider": "openai", "agent_type": "data_agent"},
}  # fmt: skip


def an_import(*lines: str, **fields: Any) -> dict[str, Any]:
    files = [{"name": "calls.csv", "content": HEADER + "".join(f"{line}\n" for line in lines)}]
    return {"kind": "csv", "files": files, "mapping": MAPPING, **fields}


def test_every_kind_can_be_sent() -> None:
    assert get_args(Kind) == tuple(KINDS)


async def test_a_trial_an_import_and_the_same_again(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    budget = {"name": "all", "selector": {}, "limits": {"tokens": 2_000}, "window": "month"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), **budget}, tenant=tenant)
    lines = ("2025-03-01T10:00:00Z,ada,gpt-4o,1000,100", "2025-03-02T10:00:00Z,ada,gpt-4o,-1,1")
    tried = (await world.post("/v1/imports", an_import(*lines, dry_run=True), tenant=tenant)).json()
    booked = (await world.post("/v1/imports", an_import(*lines), tenant=tenant)).json()
    assert {**tried, "dry_run": False} == booked
    assert (booked["rows"], booked["booked"], booked["quarantined"]) == (2, 1, {"invalid_request": 1})
    [use] = booked["uses"]
    assert (use["day"], use["provider"], use["model"], use["cost"]) == ("2025-03-01", "openai", "gpt-4o", "0.003500000")
    [example] = booked["examples"]["invalid_request"]
    assert example.startswith("calls.csv, line 3: ")
    again = (await world.post("/v1/imports", an_import(*lines), tenant=tenant)).json()
    assert (again["booked"], again["duplicates"]) == (0, 1)
    accounts = (await world.get("/v1/accounts", tenant=tenant)).json()["accounts"]
    assert [account["balance"]["settled"]["tokens"] for account in accounts] == [1_100]
    assert accounts[0]["window_start"].startswith("2025-03-01")
    assert (await verify_database(world.url, tenant)).clean


async def test_a_file_that_can_not_be_read_books_nothing(world: World) -> None:
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    sent = an_import("2025-03-01T10:00:00Z,ada,gpt-4o,1000,100", "2025-03-01T10:00:00Z,ada")
    problem = check_problem(await world.post("/v1/imports", sent, tenant=tenant), 422, "invalid_request", "files")
    assert problem["detail"].startswith("files: calls.csv, line 3: ")
    report = (await world.get("/v1/reports/spend", tenant=tenant)).json()
    assert report["total"]["calls"] == 0


async def test_a_file_with_many_commas_is_taken(world: World) -> None:
    lines = [f"2025-03-{day:02},ada,gpt-4o,{number},1" for day in range(1, 29) for number in range(500)]
    answer = (await world.post("/v1/imports", an_import(*lines, time_zone="Asia/Tokyo", dry_run=True))).json()
    assert (answer["booked"], answer["total"]["calls"]) == (14_000, 14_000)


async def test_parquet_comes_as_base64(world: World) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {"when": ["2025-03-01T10:00:00Z"], "user": ["ada"], "model": ["gpt-4o"], "in": [10], "out": [1]}
    written = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), written)
    content = base64.b64encode(written.getvalue()).decode()
    sent = {"kind": "parquet", "files": [{"name": "calls.parquet", "content": content}], "mapping": MAPPING}
    answer = (await world.post("/v1/imports", {**sent, "dry_run": True})).json()
    assert (answer["booked"], answer["total"]["input_tokens"]) == (1, 10)


@pytest.mark.parametrize("role", [Role.AGENT, Role.FINANCE])
async def test_only_an_admin_imports(world: World, role: Role) -> None:
    check_problem(await world.post("/v1/imports", an_import(), role=role), 403, "forbidden")


async def test_a_table_needs_a_mapping_and_no_other_kind_takes_one(world: World) -> None:
    check_problem(await world.post("/v1/imports", an_import(mapping=None)), 422, "invalid_request", "mapping")
    check_problem(await world.post("/v1/imports", an_import(kind="codex")), 422, "invalid_request", "mapping")
