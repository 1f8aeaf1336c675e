"""Reconciliations over HTTP: what the command does, for bills that fit into a request."""

import csv
import io
from typing import Any, get_args

import pytest

from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database
from token_ledger.reconciliation.bill_kinds import BillKind as Kind
from token_ledger.wire.bodies import reconciliations

HEADER = "date,provider,model,item,amount,input_tokens,output_tokens\n"


def a_bill(*lines: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "csv", "files": [{"name": "bill.csv", "content": HEADER + "\n".join(lines)}], **fields}


BILL = a_bill("2025-03-01,openai,gpt-4o,,4.75,1500000,100000", "2025-03-01,openai,,web search,0.35,,")
"""A day of which the ledger has 3.50 dollars."""
BOOKING = {"reason": "bill of March"}


@pytest.fixture
async def tenant(world: World) -> str:
    """A tenant with a call of March 2025 that costs 3.50 dollars."""
    name = fresh("tenant")
    await world.add_tenant(name)
    call = "when,user,model,in,out,app\n2025-03-01T10:00:00Z,ada,gpt-4o,1000000,100000,web\n"
    columns = {"occurred_at": "when", "user": "user", "model": "model", "input_tokens": "in", "output_tokens": "out"}
    mapping = {"columns": columns, "tags": {"app": "app"}, "constants": {"provider": "openai", "agent_type": "data"}}
    files = [{"name": "calls.csv", "content": call}]
    sent = {"kind": "csv", "files": files, "mapping": mapping}
    assert (await world.post("/v1/imports", sent, tenant=name)).json()["booked"] == 1
    return name


async def reconciled(world: World, tenant: str, body: dict[str, Any], **headers: str) -> Any:
    headers.update(world.headers(tenant, Role.ADMIN))
    response = await world.client.post("/v1/reconciliations", headers=headers, json=body)
    assert response.status_code == 200, response.text
    return response


def test_every_kind_can_be_sent() -> None:
    assert get_args(reconciliations.BillKind) == tuple(Kind)


async def test_a_bill_is_compared_and_nothing_booked(world: World, tenant: str) -> None:
    found = (await reconciled(world, tenant, BILL)).json()
    assert (found["billed"], found["ledger"], found["difference"]) == ("5.100000000", "3.500000000", "1.600000000")
    assert found["reasons"] == {"fees": "0.350000000", "untracked calls": "1.250000000"}
    item, model = sorted(found["cells"], key=lambda cell: cell["model"])
    assert (model["day"], model["provider"], model["model"], model["project"]) == ("2025-03-01", "openai", "gpt-4o", "")
    assert (model["billed"], model["ledger"], model["capture_rate"]) == ("4.750000000", "3.500000000", "0.6875")
    reason = {"cause": "untracked calls", "amount": "1.250000000", "detail": "500,000 tokens"}
    assert model["reasons"] == [reason]
    assert item["item"] == "web search"
    assert (found["booked"], found["replayed"]) == (0, False)
    assert (await reconciled(world, tenant, BILL)).json() == found


async def test_as_a_table(world: World, tenant: str) -> None:
    response = await reconciled(world, tenant, BILL, accept="text/csv")
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["model"], row["item"], row["difference"]) for row in rows] == [
        ("", "web search", "0.350000000"), ("gpt-4o", "", "1.250000000"),
    ]  # fmt: skip
    assert rows[1]["untracked calls"] == "1.250000000"


async def test_the_difference_is_booked_once(world: World, tenant: str) -> None:
    booking = {**BILL, **BOOKING, "idempotency_key": fresh()}
    first = (await reconciled(world, tenant, booking)).json()
    assert (first["booked"], first["replayed"], first["difference"]) == (2, False, "0.000000000")
    again = (await reconciled(world, tenant, booking)).json()
    assert again == {**first, "replayed": True}
    under_another_key = (await reconciled(world, tenant, {**booking, "idempotency_key": fresh()})).json()
    assert under_another_key == {**first, "booked": 0}
    contradiction = {**booking, "reason": "another"}
    check_problem(
        await world.post("/v1/reconciliations", contradiction, tenant=tenant), 409, "idempotency_conflict",
        "idempotency_key",
    )  # fmt: skip
    span: dict[str, Any] = {"from": "2025-03-01", "to": "2025-03-02"}
    report = (await world.get("/v1/reports/spend", tenant=tenant, **span)).json()
    assert (report["total"]["cost"], report["total"]["calls"]) == ("5.100000000", 1)
    entries = (await world.get("/v1/audit", tenant=tenant)).json()["audit"]
    assert [(each["target"], each["after"]) for each in entries if each["target"] == booking["idempotency_key"]] == [
        (
            booking["idempotency_key"],
            {"kind": "csv", "reason": "bill of March", "adjustments": 2, "cost": "1.600000000"},
        )
    ]
    found = await verify_database(world.url, tenant)
    assert found.clean, found.as_text()


async def test_what_the_bill_has_less_is_taken_off(world: World, tenant: str) -> None:
    bill = a_bill("2025-03-01,openai,gpt-4o,,3.00,,", "2025-03-01,openai,,credit,-1.00,,")
    answer = (await reconciled(world, tenant, {**bill, **BOOKING, "idempotency_key": fresh()})).json()
    assert (answer["booked"], answer["ledger"], answer["difference"]) == (2, "2.000000000", "0.000000000")
    span: dict[str, Any] = {"from": "2025-03-01", "to": "2025-03-02"}
    report = (await world.get("/v1/reports/spend", tenant=tenant, **span)).json()
    assert {row["by"]["user"]: row["cost"] for row in report["rows"]} == {
        "ada": "3.500000000",
        "reconciliation": "-1.500000000",
    }
    assert report["total"]["cost"] == "2.000000000"
    found = await verify_database(world.url, tenant)
    assert found.clean, found.as_text()


async def test_projects_are_a_tag_or_cost_centers(world: World, tenant: str) -> None:
    bill = a_bill("2025-03-01,openai,gpt-4o,,3.50,,")
    bill["files"][0]["content"] = "date,provider,model,project,amount\n2025-03-01,openai,gpt-4o,web,3.50\n"
    [cell] = (await reconciled(world, tenant, {**bill, "project_tag": "app"})).json()["cells"]
    assert (cell["project"], cell["difference"]) == ("web", "0.000000000")
    cells = (await reconciled(world, tenant, {**bill, "by_cost_center": True})).json()["cells"]
    assert sorted(cell["difference"] for cell in cells) == ["-3.500000000", "3.500000000"]
    both = {**bill, "by_cost_center": True, "project_tag": "app"}
    response = await world.post("/v1/reconciliations", both, tenant=tenant)
    check_problem(response, 422, "invalid_request", "project_tag")


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"reason": "x"}, "idempotency_key", "go together"),
        ({"idempotency_key": "x"}, "reason", "go together"),
        (a_bill("2025-03-01,openai,gpt-4o"), "files", "bill.csv, line 2: "),
        (a_bill("2025-03-01,openai,gpt-4o,,0,,"), "files", "no amounts of money"),
        (a_bill("2025-03-01,,gpt-4o,,1,,"), "files", "names no provider"),
        (a_bill(kind="openai"), "files", "bill.csv"),
    ],
)
async def test_what_can_not_be_compared_says_why(
    world: World, changes: dict[str, Any], field: str, detail: str
) -> None:  # fmt: skip
    response = await world.post("/v1/reconciliations", {**BILL, **changes})
    assert detail in check_problem(response, 422, "invalid_request", field)["detail"]


async def test_a_provider_can_be_given_for_all_rows(world: World, tenant: str) -> None:
    bill = a_bill("2025-03-01,,gpt-4o,,3.50,,", provider="openai")
    assert (await reconciled(world, tenant, bill)).json()["difference"] == "0.000000000"


@pytest.mark.parametrize("role", [Role.AGENT, Role.FINANCE])
async def test_only_an_admin_reconciles(world: World, role: Role) -> None:
    check_problem(await world.post("/v1/reconciliations", BILL, role=role), 403, "forbidden")
