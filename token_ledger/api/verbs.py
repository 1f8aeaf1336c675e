"""Owns the callers' verbs: from a parsed body to the status and body of the answer, or the problem that is raised.

A route of its own and an item of `/v1/operations` are the same function.
"""

from typing import Any

from token_ledger.api.problems import ProblemError, denied_problem, refused_problem
from token_ledger.api.service import Service
from token_ledger.api.translate import (
    extend_command,
    lease_command,
    preflight_command,
    release_command,
    reserve_command,
    settle_command,
    step_command,
)  # fmt: skip
from token_ledger.api.values import (
    iterations_value,
    lease_value,
    preflight_value,
    reservation_value,
    settlement_value,
)  # fmt: skip
from token_ledger.api.wire import (
    ExtensionBody,
    LeaseBody,
    PreflightBody,
    ReleaseBody,
    ReservationBody,
    SettlementBody,
    StepBody,
)  # fmt: skip
from token_ledger.core.outcomes import (
    Denied,
    Extended,
    Granted,
    PreflightAnswer,
    Quarantined,
    Refused,
    Released,
    Settled,
    StepTaken,
)  # fmt: skip
from token_ledger.core.tenant import TenantId

Result = tuple[int, dict[str, Any]]
"""Status and body."""


async def reserve(service: Service, tenant: TenantId, body: ReservationBody) -> Result:
    """Hold what a call may take, or deny it with 402."""
    outcome = await service.submit(tenant, reserve_command(body))
    if isinstance(outcome, Granted):
        return 201, reservation_value(outcome.reservation, replayed=outcome.replayed)
    raise _problem(outcome)


async def lease(service: Service, tenant: TenantId, body: LeaseBody) -> Result:
    """Hold what up to so many calls may take, to be drawn down without asking, or deny it with 402."""
    outcome = await service.submit(tenant, lease_command(body))
    if isinstance(outcome, Granted):
        return 201, lease_value(outcome.reservation, outcome.price, replayed=outcome.replayed)
    raise _problem(outcome)


async def settle(service: Service, tenant: TenantId, body: SettlementBody, reservation_id: int) -> Result:
    """Book what a call really used; unless it was a part, end its hold."""
    outcome = await service.submit(tenant, settle_command(body, reservation_id))
    if isinstance(outcome, Settled):
        return 200, settlement_value(outcome)
    raise _problem(outcome)


async def extend(service: Service, tenant: TenantId, body: ExtensionBody, reservation_id: int) -> Result:
    """Let a hold expire later."""
    outcome = await service.submit(tenant, extend_command(body, reservation_id))
    if isinstance(outcome, Extended):
        value = reservation_value(outcome.reservation, replayed=outcome.replayed)
        value["directive"]["stop"] |= outcome.stop is not None
        return 200, value
    raise _problem(outcome)


async def release(service: Service, tenant: TenantId, body: ReleaseBody, reservation_id: int) -> Result:
    """End a hold with nothing, because the call surely was not made; or a lease, because it is not needed."""
    outcome = await service.submit(tenant, release_command(body, reservation_id))
    if isinstance(outcome, Released):
        return 200, reservation_value(outcome.reservation, replayed=outcome.replayed)
    raise _problem(outcome)


async def step(service: Service, tenant: TenantId, body: StepBody, run_id: int) -> Result:
    """Begin another iteration of a run, or deny it with 402."""
    outcome = await service.submit(tenant, step_command(body, run_id))
    if isinstance(outcome, StepTaken):
        return 201, {
            "run_id": str(outcome.run.run_id),
            "step_id": str(outcome.step.step_id),
            "iteration": outcome.step.iteration,
            "iterations": iterations_value(outcome.run),
            "replayed": outcome.replayed,
        }
    raise _problem(outcome)


async def preflight(service: Service, tenant: TenantId, body: PreflightBody) -> Result:
    """Tell whether planned calls would fit now; nothing is held."""
    outcome = await service.submit(tenant, preflight_command(body))
    if isinstance(outcome, PreflightAnswer):
        return 200, preflight_value(outcome, None if outcome.refusal is None else _stopping(outcome.refusal))
    raise _problem(outcome)


def _stopping(refusal: Denied | Refused) -> dict[str, Any]:
    value = _problem(refusal).value()
    return {"code": value["code"], "detail": value["detail"], "refusals": value.get("refusals", [])}


def _problem(outcome: object) -> ProblemError:
    if isinstance(outcome, Denied):
        return denied_problem(outcome)
    assert isinstance(outcome, Refused | Quarantined), outcome
    return refused_problem(outcome)
