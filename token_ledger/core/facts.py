"""Owns the facts of a call: who makes what call for whom, from the command, its run and what is known of its user."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from token_ledger.core.commands import Record, Reserve
from token_ledger.core.reservation import CallFacts
from token_ledger.core.run import Run
from token_ledger.core.tenant import UNASSIGNED, User
from token_ledger.core.trigger import Mode, Trigger


def call_facts(command: Reserve | Record, run: Run | None, users: Mapping[str, User], now: datetime) -> CallFacts:
    """Return the facts of a call; a run decides on user and cost center, else the call, else the user's record."""
    if run is not None:
        user, cost_center = run.user, run.cost_center
    else:
        user = command.user or ""
        at = command.occurred_at or now if isinstance(command, Record) else now
        cost_center = command.cost_center or user_cost_center(users, user, at)
    return CallFacts(
        user=user,
        cost_center=cost_center,
        agent_type=command.agent_type,
        request_type=command.request_type,
        provider=command.provider,
        model=command.model,
        run_id=command.run_id,
        tool=command.tool,
        tags=command.tags,
    )


def candidate_facts(
    triggers: Sequence[Trigger], command: Reserve | Record, run: Run | None, users: Mapping[str, User], now: datetime
) -> list[CallFacts]:
    """Return the facts that a call may end up with: as asked, and with each model it may be downgraded to."""
    facts = call_facts(command, run, users, now)
    if not triggers:
        return [facts]
    return [facts] + [
        facts._replace(provider=step.to_provider, model=step.to_model)
        for trigger in triggers
        if trigger.mode is not Mode.OFF
        for step in trigger.downgrades
        if step.provider == facts.provider and step.model == facts.model
    ]


def user_cost_center(users: Mapping[str, User], user: str, at: datetime) -> str:
    """Return the cost center that a user had at an instant."""
    known = users.get(user)
    return UNASSIGNED if known is None else known.cost_center(at)
