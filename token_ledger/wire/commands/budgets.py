"""Commands of budgets."""

from collections.abc import Sequence

from token_ledger.core.batch import administration
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model import budget as model
from token_ledger.core.model.selector import parse_selector
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import Window
from token_ledger.wire.bodies.budgets import BudgetBody, BudgetChangeBody, OverrideBody
from token_ledger.wire.bodies.limits import LimitsBody
from token_ledger.wire.commands.fields import change_fingerprint_of, fingerprint_of, limits_of, removed_units
from token_ledger.wire.problems import invalid_field


def create_budget_command(body: BudgetBody, actor: str) -> administration.CreateBudget:
    """Return the command for a budget."""
    limits = limits_of(body.limits)
    if limits == model.NO_LIMITS:
        raise invalid_field("limits", "give a limit in tokens, cost or calls")
    return administration.CreateBudget(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        name=body.name,
        selector=parse_selector(body.selector),
        limits=limits,
        window=Window(body.window),
        enforcement=model.Enforcement(body.enforcement),
        counts=model.Counts(body.counts),
        thresholds=body.thresholds,
        rollover=_rollover(body.rollover),
        actor=actor,
        overrides=_overrides(body.overrides),
        unassigned=model.Unassigned(body.unassigned),
    )


def change_budget_command(body: BudgetChangeBody, budget_id: int, actor: str) -> administration.ChangeBudget:
    """Return the command that changes a budget: a field that is null becomes what it is in a budget made without it."""
    given = body.model_fields_set
    enforcement = body.enforcement or ("hard" if "enforcement" in given else None)
    thresholds = model.DEFAULT_THRESHOLDS if "thresholds" in given and body.thresholds is None else body.thresholds
    unassigned = body.unassigned or ("shared" if "unassigned" in given else None)
    return administration.ChangeBudget(
        key=body.idempotency_key,
        fingerprint=change_fingerprint_of(body, budget_id),
        budget_id=budget_id,
        limits=None if body.limits is None else limits_of(body.limits),
        enforcement=None if enforcement is None else model.Enforcement(enforcement),
        thresholds=thresholds,
        rollover=_rollover(body.rollover),
        actor=actor,
        removed_limits=removed_units(body, "limits"),
        removed_rollover=removed_units(body, "rollover"),
        overrides=_overrides(body.overrides or ()) if "overrides" in given else None,
        unassigned=None if unassigned is None else model.Unassigned(unassigned),
    )


def archive_budget_command(budget_id: int, actor: str) -> administration.ArchiveBudget:
    """Return the command that archives a budget."""
    return administration.ArchiveBudget(f"archive:{budget_id}", fingerprint(str(budget_id).encode()), budget_id, actor)


def _rollover(body: LimitsBody | None) -> model.Limits | None:
    return None if body is None or limits_of(body) == model.NO_LIMITS else limits_of(body)


def _overrides(bodies: Sequence[OverrideBody]) -> model.Overrides:
    """Return subjects and their limits, sorted by subject, so that the same ones in another order are equal."""
    found = []
    for position, body in enumerate(bodies):
        limits = model.NO_LIMITS if body.limits is None else limits_of(body.limits)
        if body.limits is not None and limits == model.NO_LIMITS:
            raise invalid_field(
                f"overrides.{position}.limits", "give a limit in tokens, cost or calls, or null for none"
            )
        found.append((Subject(body.subject), limits))
    return tuple(sorted(found, key=lambda override: override[0].text))
