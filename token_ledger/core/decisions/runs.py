"""Decides on runs: opening, steps, rebalancing, changed limits, and their end."""

from copy import copy
from dataclasses import replace
from datetime import datetime

from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.call_facts import user_cost_center
from token_ledger.core.decisions.limits import change_base
from token_ledger.core.model.account import RUN_BUDGET, Account, AccountKey, EntryKind
from token_ledger.core.model.allocation import InfeasibleAllocation, Share, allocate
from token_ledger.core.model.budget import DEFAULT_THRESHOLDS, Counts, Enforcement, Limits
from token_ledger.core.model.plain_data import run_limits_data
from token_ledger.core.model.run import (
    DEEPEST,
    Run,
    RunState,
    RunStep,
    allocation_account_key,
    allocation_subject,
    run_account_key,
    run_subject,
)  # fmt: skip
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.window import ALL_TIME


def find_open_run(books: Books, run_id: int, field: str = "run_id") -> Run | outcomes.Refused:
    """Return a run that may go on, because it is open and so are its ancestors; `field` named it."""
    run = books.loaded.runs.get(run_id)
    if run is None:
        return outcomes.missing(outcomes.Code.RUN_NOT_FOUND, "run", run_id, field)
    for each in reversed(books.lineage(run)):
        if each.state is not RunState.OPEN:
            which = "the run" if each is run else f"run {each.run_id}, which it is a part of,"
            detail = f"{which} is {each.state}; open another run"
            which_run = {"run_state": each.state.value, "run_id": str(each.run_id)}
            return outcomes.Refused(outcomes.Code.RUN_NOT_OPEN, detail, field, extra=which_run)
    return run


def stopped(books: Books) -> outcomes.Refused | None:
    """Return the refusal of whatever begins something while the tenant is stopped."""
    if books.config.stopped is None:
        return None
    detail = f"all calls of this tenant are stopped ({books.config.stopped}); wait until an administrator resumes them"
    return outcomes.Refused(outcomes.Code.TENANT_STOPPED, detail, extra={"directive": {"stop": True}})


def open_run(books: Books, command: commands.OpenRun) -> outcomes.RunAnswer | outcomes.Refused:
    """Start a run and make its accounts: one with its own limits, one per agent type with its share."""
    refused = stopped(books)
    if refused is not None:
        return refused
    if command.attach and command.external_id is not None:
        attached = _attachable(books, command.external_id)
        if attached is not None:
            return _attached(books, command, attached)
    parent = None
    if command.parent_run_id is not None:
        found = find_open_run(books, command.parent_run_id, "parent_run_id")
        if isinstance(found, outcomes.Refused):
            return found
        parent = found
        if len(parent.lineage) >= DEEPEST:
            detail = f"sub-runs go {DEEPEST} levels deep and the parent is at the last; use one of its ancestors"
            return outcomes.Refused(outcomes.Code.RUN_TOO_DEEP, detail, "parent_run_id")
    allocated = _split(command.limits.tokens, command.shares)
    if isinstance(allocated, outcomes.Refused):
        return allocated
    return _opened(books, command, parent, allocated)


def _attached(books: Books, command: commands.OpenRun, run: Run) -> outcomes.RunAnswer | outcomes.Refused:
    """Attach to a run, unless its user, cost center or parent is another: it would pay for what is spent."""
    parent = run.ancestors[-1] if run.ancestors else None
    for field, asked, found in (
        ("user", command.user, run.user),
        ("cost_center", command.cost_center, run.cost_center),
        ("parent_run_id", command.parent_run_id, parent),
    ):
        if asked is not None and asked != found:
            detail = (
                f"the open run with external_id {run.external_id!r} has another {field}; use another external_id, or"
                " open a run of its own without attach"
            )
            return outcomes.Refused(outcomes.Code.RUN_OF_ANOTHER, detail, field)
    books.note_key(command, "run", run.run_id)
    return outcomes.RunAnswer(replace(run))


def _opened(
    books: Books, command: commands.OpenRun, parent: Run | None, allocated: dict[str, int]
) -> outcomes.RunAnswer:
    user = parent.user if parent else command.user or ""
    run = Run(
        run_id=books.new_id(),
        user=user,
        cost_center=_cost_center(books, command, parent, user, books.now),
        external_id=command.external_id,
        strict=command.strict,
        limits=command.limits,
        allocated=allocated,
        created_at=books.now,
        ancestors=parent.lineage if parent else (),
        limit_iterations=command.iterations,
    )
    accounts = [_run_account(books, "run", run_subject(run.run_id), command.limits)]
    accounts += [
        _run_account(books, "allocation", allocation_subject(run.run_id, agent_type), Limits(tokens=tokens))
        for agent_type, tokens in allocated.items()
    ]
    books.writes.new_runs.append(run)
    books.loaded.runs[run.run_id] = run
    if run.external_id is not None:
        books.loaded.attachable_runs.setdefault(run.external_id, []).append(run.run_id)
    books.note_key(command, "run", run.run_id)
    return outcomes.RunAnswer(replace(run), tuple(map(copy, accounts)))


def _attachable(books: Books, external_id: str) -> Run | None:
    """Return the newest run with an external id that may be attached to: open, like its ancestors."""
    newest_first = reversed(books.loaded.attachable_runs.get(external_id, []))
    found = (find_open_run(books, run_id) for run_id in newest_first)
    return next((run for run in found if isinstance(run, Run)), None)


def end_run(books: Books, command: commands.EndRun) -> outcomes.RunAnswer | outcomes.Refused:
    """Close or cancel a run. Ending it again changes nothing, but a closed run can still be cancelled."""
    run = books.loaded.runs.get(command.run_id)
    if run is None:
        return outcomes.missing(outcomes.Code.RUN_NOT_FOUND, "run", command.run_id)
    if run.state is RunState.OPEN or (run.state is RunState.CLOSED and command.state is RunState.CANCELLED):
        before, run.state = run.state, command.state
        run.ended_at = run.ended_at or books.now
        books.writes.changed_runs[run.run_id] = run
        if command.actor is not None:
            action = "run.cancel" if run.state is RunState.CANCELLED else "run.close"
            books.audit(command, action, str(run.run_id), {"state": before.value}, {"state": run.state.value})
    books.note_key(command, "run", run.run_id)
    return outcomes.RunAnswer(replace(run))


def step(books: Books, command: commands.Step) -> outcomes.StepTaken | outcomes.Refused:
    """Count an iteration on a run and on its ancestors, unless one of them has none left."""
    run = stopped(books) or find_open_run(books, command.run_id)
    if isinstance(run, outcomes.Refused):
        return run
    lineage = books.lineage(run)
    for each in reversed(lineage):
        if each.limit_iterations is not None and each.iterations >= each.limit_iterations:
            return _no_more_iterations(each)
    for each in lineage:
        each.iterations += 1
        books.writes.changed_runs[each.run_id] = each
    taken = RunStep(books.new_id(), run.run_id, run.iterations, command.label)
    books.writes.steps.append(taken)
    books.loaded.steps[taken.step_id] = taken
    books.note_key(command, "step", taken.step_id)
    return outcomes.StepTaken(taken, replace(run))


def rebalance(books: Books, command: commands.Rebalance) -> outcomes.RunAnswer | outcomes.Refused:
    """Split what a run has available again; allocations that are not named keep what they have used."""
    run = find_open_run(books, command.run_id)
    if isinstance(run, outcomes.Refused):
        return run
    own = _account(books, run_account_key(run.run_id))
    available = None if own.limit_tokens is None else own.limit_tokens - own.used[0]
    parts = _split(available, command.shares)
    if isinstance(parts, outcomes.Refused):
        return parts
    run.allocated = {name: _reallocate(books, run, name, parts.get(name, 0)) for name in {**run.allocated, **parts}}
    books.writes.changed_runs[run.run_id] = run
    books.note_key(command, "run", run.run_id)
    accounts = [own, *(_account(books, allocation_account_key(run.run_id, name)) for name in run.allocated)]
    return outcomes.RunAnswer(replace(run), tuple(map(copy, accounts)))


def change_run(books: Books, command: administration.ChangeRun) -> outcomes.RunAnswer | outcomes.Refused:
    """Change a run's limits; a limit below what is used leaves a negative amount available.

    A run may lose its last limit, because it may be opened without any: what it uses is still counted.
    """
    run = find_open_run(books, command.run_id)
    if isinstance(run, outcomes.Refused):
        return run
    before = run_limits_data(run)
    own = _account(books, run_account_key(run.run_id))
    limits = command.limits.over(run.limits).without(command.removed_limits)
    if limits != run.limits:  # also where the change is zero: a first limit of zero denies everything
        change_base(books, own, run.limits, limits, reason=command.reason, actor=command.actor)
        run.limits = limits
    if command.iterations is not None or command.removes_iterations:
        run.limit_iterations = command.iterations
    books.writes.changed_runs[run.run_id] = run
    books.audit(command, "run.change", str(run.run_id), before, {**run_limits_data(run), "reason": command.reason})
    books.note_key(command, "run", run.run_id)
    return outcomes.RunAnswer(replace(run), (copy(own),))


def _split(total_tokens: int | None, shares: tuple[Share, ...]) -> dict[str, int] | outcomes.Refused:
    if not shares:
        return {}
    if total_tokens is None:
        detail = "an allocation splits the run's limit in tokens, and it has none; set limits.tokens"
        return outcomes.Refused(outcomes.Code.INFEASIBLE_ALLOCATION, detail, "limits.tokens")
    try:
        return allocate(total_tokens, shares)
    except InfeasibleAllocation as error:
        return outcomes.Refused(
            outcomes.Code.INFEASIBLE_ALLOCATION, f"{error}; lower the minimums or raise limits.tokens", "shares"
        )


def _cost_center(books: Books, command: commands.OpenRun, parent: Run | None, user: str, now: datetime) -> str:
    if parent is not None:
        return parent.cost_center
    return command.cost_center or user_cost_center(books.loaded.users, user, now)


def _no_more_iterations(run: Run) -> outcomes.Refused:
    detail = (
        f"run {run.run_id} has made {run.iterations} of {run.limit_iterations} iterations; end it, or ask an"
        " administrator for more"
    )
    extra = {
        "run_id": str(run.run_id),
        "iterations": {"limit": run.limit_iterations, "taken": run.iterations},
        "directive": {"stop": True},
    }
    return outcomes.Refused(outcomes.Code.ITERATIONS_EXCEEDED, detail, extra=extra)


def _reallocate(books: Books, run: Run, agent_type: str, part: int) -> int:
    account = books.find_account(allocation_account_key(run.run_id, agent_type))
    if account is None:
        _run_account(books, "allocation", allocation_subject(run.run_id, agent_type), Limits(tokens=part))
        return part
    limit = account.used[0] + part
    change = limit - (account.limit_tokens or 0)
    if change:
        books.change_limits(account, EntryKind.REBALANCE, Limits(tokens=change))
    return limit


def _account(books: Books, key: AccountKey) -> Account:
    account = books.find_account(key)
    assert account is not None, "a run's accounts are made with it and loaded with every command about it"
    return account


def _run_account(books: Books, name: str, subject: Subject, limits: Limits) -> Account:
    account = Account(
        books.new_id(), RUN_BUDGET, name, subject, ALL_TIME, None,
        Enforcement.HARD, Counts.ALL, limits, DEFAULT_THRESHOLDS,
    )  # fmt: skip
    return books.add_account(account)
