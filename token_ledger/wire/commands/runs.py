"""Commands of runs."""

from collections.abc import Sequence

from token_ledger.core.batch import commands
from token_ledger.core.batch.administration import ChangeRun
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.run import PRESETS, RunState
from token_ledger.wire.bodies import runs as bodies
from token_ledger.wire.commands.fields import change_fingerprint_of, fingerprint_of, limits_of, removed_units
from token_ledger.wire.problems import invalid_field


def open_run_command(body: bodies.RunBody) -> commands.OpenRun:
    """Return the command for a run; what the body gives takes precedence over its preset."""
    _check_parent(body)
    preset = PRESETS[body.preset or "open_end"]
    return commands.OpenRun(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        user=body.user,
        cost_center=body.cost_center,
        external_id=body.external_id,
        limits=limits_of(body.limits).over(preset.limits),
        iterations=preset.iterations if body.iterations is None else body.iterations,
        shares=_shares(body.allocation) or preset.shares,
        strict=body.strict,
        parent_run_id=None if body.parent_run_id is None else int(body.parent_run_id),
        attach=body.attach,
    )


def _check_parent(body: bodies.RunBody) -> None:
    if body.parent_run_id is None and body.user is None:
        raise invalid_field("user", "give a user or a parent_run_id")
    if body.parent_run_id is not None and (body.user is not None or body.cost_center is not None):
        field = "user" if body.user is not None else "cost_center"
        raise invalid_field(field, f"a sub-run has the {field} of its parent; leave it out")
    if body.attach and body.external_id is None:
        raise invalid_field("external_id", "attach looks for the run with this external_id; give one")


def _shares(allocation: Sequence[bodies.ShareBody]) -> tuple[Share, ...]:
    names = [share.agent_type for share in allocation]
    if len(set(names)) != len(names):
        raise invalid_field("allocation", "name each agent type once")
    return tuple(Share(s.agent_type, s.weight, s.minimum_tokens) for s in allocation)


def step_command(body: bodies.StepBody, run_id: int) -> commands.Step:
    """Return the command that begins an iteration."""
    return commands.Step(body.idempotency_key, fingerprint_of(body, run_id), run_id, body.label)


def rebalance_command(body: bodies.RebalanceBody, run_id: int) -> commands.Rebalance:
    """Return the command that splits a run again."""
    return commands.Rebalance(body.idempotency_key, fingerprint_of(body, run_id), run_id, _shares(body.allocation))


def change_run_command(body: bodies.RunChangeBody, run_id: int, actor: str) -> ChangeRun:
    """Return the command that changes a run's limits."""
    limits = Limits() if body.limits is None else limits_of(body.limits)
    removed = removed_units(body, "limits")
    removes_iterations = "iterations" in body.model_fields_set and body.iterations is None
    if limits == Limits() and body.iterations is None and not removed and not removes_iterations:
        raise invalid_field("limits", "give limits or iterations, or null for one that is to go")
    print_ = change_fingerprint_of(body, run_id)
    return ChangeRun(
        body.idempotency_key, print_, run_id, limits, body.iterations, body.reason, actor, removed, removes_iterations
    )


def end_run_command(body: bodies.RunEndBody, run_id: int, state: RunState, actor: str | None = None) -> commands.EndRun:
    """Return the command that closes or cancels a run; `actor` is the administrator who does, if one does."""
    key = body.idempotency_key or f"{state}:{run_id}"
    return commands.EndRun(key, fingerprint(f"{run_id} {state}".encode()), run_id, state, actor)
