"""Finds the facts of a call: who makes which call for whom, from the command, its run and the user's record."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from token_ledger.core.batch.commands import OtherModel, Record, Reserve, Settle
from token_ledger.core.batch.loaded import AskedName
from token_ledger.core.model.call import UNASSIGNED, CallFacts
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run
from token_ledger.core.model.tenant import User
from token_ledger.core.model.trigger import Mode, Trigger

NameOf = Callable[[str, str], ModelName]
"""Returns what a provider's model is called in the books."""


def call_facts(
    command: Reserve | Record, run: Run | None, users: Mapping[str, User], now: datetime, name_of: NameOf
) -> CallFacts:
    """Return the facts of a call; user and cost center come from the run, else the call, else the user's record."""
    if run is not None:
        user, cost_center = run.user, run.cost_center
    else:
        user = command.user or ""
        if command.cost_center or not users:
            cost_center = command.cost_center or UNASSIGNED
        else:
            at = command.occurred_at or now if isinstance(command, Record) else now
            cost_center = user_cost_center(users, user, at)
    # A tool call may have used no model.
    provider, model = name_of(command.provider, command.model) if command.model else ("", "")
    return CallFacts(
        user, cost_center, command.agent_type, command.request_type, provider, model, command.run_id, command.tool,
        command.tags,
    )  # fmt: skip


def candidate_facts(
    triggers: Sequence[Trigger], command: Reserve | Record, run: Run | None, users: Mapping[str, User], now: datetime,
    name_of: NameOf,
) -> list[CallFacts]:  # fmt: skip
    """Return the facts that a call may get: with the model asked for, and with each that it may be downgraded to."""
    facts = call_facts(command, run, users, now, name_of)
    if not triggers:
        return [facts]
    return [facts] + [
        facts._replace(**name_of(step.to_provider, step.to_model)._asdict())
        for trigger in triggers
        if trigger.mode is not Mode.OFF
        for step in trigger.downgrades
        if name_of(step.provider, step.model) == (facts.provider, facts.model)
    ]


def served_facts(
    command: Settle, hold: Reservation, name_of: NameOf, renamed: Mapping[AskedName, ModelName]
) -> tuple[CallFacts, ModelName | None]:
    """Return the facts of the call that was made, and its model as the caller names it, if it names one.

    The model of the hold keeps the name that it was booked under, also if it is renamed meanwhile.
    """
    facts, served = hold.facts, served_name(command, hold)
    if command.tool is not None:
        facts = facts._replace(tool=command.tool)
    if served is not None:
        name, held = name_of(*served), (facts.provider, facts.model)
        if name != held and name != renamed.get(held) and served != hold.to_call:
            facts = facts._replace(provider=name.provider, model=name.model)
    return facts, served


def served_name(command: Settle, hold: Reservation) -> ModelName | None:
    """Return the model that a settle names, with what it leaves out as in the hold; None if it names none."""
    if command.model is None and command.provider is None:
        return None
    provider, model = hold.to_call
    return ModelName(command.provider or provider, command.model or model)


def other_name(command: Settle, other: OtherModel, hold: Reservation) -> ModelName:
    """Return another model within a call as the caller names it."""
    return ModelName(other.provider or command.provider or hold.to_call.provider, other.model)


def posting_instant(command: Settle, hold: Reservation, now: datetime) -> datetime:
    """Return the instant that a call belongs to: that of its reserve, on a lease within its life."""
    at = min(hold.created_at, now)  # later only if the database's clock was ahead at the reserve
    if hold.lease and command.occurred_at is not None:
        # The caller's clock may be wrong, its spend is real: the lease bounds when the call can have been made.
        return min(max(command.occurred_at, at), now)
    return now if hold.lease else at


def user_cost_center(users: Mapping[str, User], user: str, at: datetime) -> str:
    """Return the cost center that a user had at an instant."""
    known = users.get(user)
    return UNASSIGNED if known is None else known.cost_center(at)
