"""Every refusal, one error per row: its code, the field at fault, and that nothing changes."""

from collections import Counter

import pytest

from tests.core.decisions.refusals import ACCEPTED, REFUSALS, Refusal, Tenant
from tests.core.given import reserve, sealed
from token_ledger.core.batch.administration import StopTenant
from token_ledger.core.batch.outcomes import Code, Denied, Quarantined, Refused


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row.verb}: {row.when}")
def test_a_refusal(row: Refusal) -> None:
    tenant = Tenant()
    if row.before is not None:
        row.before(tenant)
    command = row.command(tenant)
    accounts = {a.account_id: (a.used, a.limits) for a in tenant.ledger.books.loaded.accounts}
    writes = tenant.ledger.books.writes
    before = len(writes.events), len(writes.new_reservations), len(writes.other_holds), len(writes.limit_entries)
    outcome = tenant.ledger.one(command)
    match outcome:
        case Denied(denial):
            assert (row.kind, row.code) == ("denied", denial.code)
        case Quarantined(_, code, _):
            assert (row.kind, row.code) == ("quarantined", code)
        case Refused():
            assert (row.kind, outcome.code, outcome.field) == ("refused", row.code, row.field)
        case _:
            raise AssertionError(outcome)
    after = len(writes.events), len(writes.new_reservations), len(writes.other_holds), len(writes.limit_entries)
    assert {a.account_id: (a.used, a.limits) for a in tenant.ledger.books.loaded.accounts} == accounts
    # A denial may open the accounts that it was decided on, each with an opening entry.
    assert after[:3] == before[:3]
    assert after[3] == before[3] or row.kind == "denied"


@pytest.mark.parametrize(("verb", "make"), ACCEPTED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_only_what_the_row_says(verb: str, make: object) -> None:
    tenant = Tenant()
    assert callable(make)
    outcome = tenant.ledger.one(make(tenant))
    assert not isinstance(outcome, Refused | Denied | Quarantined), outcome


def test_the_table_knows_every_code_and_more_refusals_than_acceptances() -> None:
    assert {row.code for row in REFUSALS} == set(Code)
    assert len(REFUSALS) > 2 * len(ACCEPTED)
    assert {row.verb for row in REFUSALS} == {verb for verb, _ in ACCEPTED}
    assert max(Counter((row.verb, row.when) for row in REFUSALS).values()) == 1


def test_the_checks_of_a_reserve_come_in_the_order_of_the_table() -> None:
    """A call with several errors is refused for the first; when that is corrected, for the next."""
    tenant = Tenant()
    tenant.stop()
    wrong: dict[str, object] = {"run_id": 7, "model": "unheard-of", "max_output_tokens": 30_000}
    found: list[Code | None] = []
    for fixed in ({}, {"resume": True}, {"run_id": tenant.done}, {"run_id": tenant.strict}, {"model": "large"},
                  {"agent_type": "writer"}):  # fmt: skip
        wrong |= {name: value for name, value in fixed.items() if name != "resume"}
        if "resume" in fixed:
            tenant.ledger.one(sealed(StopTenant("resume", b"", None, "key:b")))
        outcome = tenant.ledger.one(reserve(key=f"try {len(found)}", **wrong))
        found.append(outcome.denial.code if isinstance(outcome, Denied) else getattr(outcome, "code", None))
    assert found == [
        Code.TENANT_STOPPED, Code.RUN_NOT_FOUND, Code.RUN_NOT_OPEN, Code.UNKNOWN_MODEL, Code.NOT_ALLOCATED,
        Code.BUDGET_EXCEEDED,
    ]  # fmt: skip
