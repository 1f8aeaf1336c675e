"""Decides on runs: opening, steps, splitting anew, changed limits, and their end (design D7)."""

from dataclasses import replace
from datetime import datetime

from token_ledger.core.account import Account, AccountKey, EntryKind
from token_ledger.core.administration import ChangeRun
from token_ledger.core.allocation import InfeasibleAllocation, Share, allocate
from token_ledger.core.audit import run_state
from token_ledger.core.books import Books
from token_ledger.core.budget import DEFAULT_THRESHOLDS, Counts, Enforcement, Limits
from token_ledger.core.commands import EndRun, OpenRun, Rebalance, TakeStep
from token_ledger.core.facts import user_cost_center
from token_ledger.core.outcomes import Code, Outcome, Refused, RunAnswer, StepTaken
from token_ledger.core.run import DEEPEST, Run, RunState, Step, allocation_account_key, run_account_key


def find_open_run(books: Books, run_id: int) -> Run | Refused:
    """Return a run that may go on: it is open, and so is every run that it is a part of."""
    run = books.loaded.runs.get(run_id)
    if run is None:
        return Refused(Code.RUN_NOT_FOUND, f"there is no run {run_id}", "run_id")
    for each in reversed(books.lineage(run)):
        if each.state is not RunState.OPEN:
            which = "the run" if each is run else f"run {each.run_id}, which it is a part of,"
            state = {"run_state": each.state.value}
            return Refused(Code.RUN_NOT_OPEN, f"{which} is {each.state}", "run_id", extra=state)
    return run


def stopped(books: Books) -> Refused | None:
    """Return the refusal of everything that begins something while the tenant is stopped."""
    if books.config.stopped is None:
        return None
    detail = f"all calls of this tenant are stopped: {books.config.stopped}"
    return Refused(Code.TENANT_STOPPED, detail, extra={"directive": {"stop": True}})


def open_run(books: Books, command: OpenRun) -> Outcome:
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
        found = find_open_run(books, command.parent_run_id)
        if isinstance(found, Refused):
            return replace(found, field="parent_run_id")
        parent = found
        if len(parent.lineage) >= DEEPEST:
            return Refused(Code.RUN_TOO_DEEP, f"runs go {DEEPEST} deep, the parent is there already", "parent_run_id")
    allocated = _split(command.limits.tokens, command.shares)
    if isinstance(allocated, Refused):
        return allocated
    return _opened(books, command, parent, allocated)


def _attached(books: Books, command: OpenRun, run: Run) -> Outcome:
    """Take part in a run, unless it is another's than the command says: what is spent in it would be theirs."""
    parent = run.ancestors[-1] if run.ancestors else None
    for field, asked, found in (
        ("user", command.user, run.user),
        ("cost_center", command.cost_center, run.cost_center),
        ("parent_run_id", command.parent_run_id, parent),
    ):
        if asked is not None and asked != found:
            detail = f"the open run with external_id {run.external_id!r} is of another {field}"
            return Refused(Code.RUN_OF_ANOTHER, detail, field)
    books.note_key(command, "run", run.run_id)
    return RunAnswer(replace(run))


def _opened(books: Books, command: OpenRun, parent: Run | None, allocated: dict[str, int]) -> RunAnswer:
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
    accounts = [_run_account(books, "run", run_account_key(run.run_id), command.limits)]
    accounts += [
        _run_account(books, "allocation", allocation_account_key(run.run_id, agent_type), Limits(tokens=tokens))
        for agent_type, tokens in allocated.items()
    ]
    books.writes.new_runs.append(run)
    books.loaded.runs[run.run_id] = run
    if run.external_id is not None:
        books.loaded.attachable_runs[run.external_id] = run.run_id
    books.note_key(command, "run", run.run_id)
    return RunAnswer(replace(run), tuple(accounts))


def _attachable(books: Books, external_id: str) -> Run | None:
    """Return the run that is taken part in under a name: open, like all that it is a part of."""
    run_id = books.loaded.attachable_runs.get(external_id)
    found = None if run_id is None else find_open_run(books, run_id)
    return None if isinstance(found, Refused) else found


def end_run(books: Books, command: EndRun) -> Outcome:
    """Close or cancel a run. Ending it again changes nothing, but a closed run can still be cancelled."""
    run = books.loaded.runs.get(command.run_id)
    if run is None:
        return Refused(Code.RUN_NOT_FOUND, f"there is no run {command.run_id}", "run_id")
    if run.state is RunState.OPEN or (run.state is RunState.CLOSED and command.state is RunState.CANCELLED):
        before, run.state = run.state, command.state
        run.ended_at = run.ended_at or books.now
        books.writes.changed_runs[run.run_id] = run
        if run.external_id is not None and books.loaded.attachable_runs.get(run.external_id) == run.run_id:
            del books.loaded.attachable_runs[run.external_id]
        if command.actor is not None:
            action = "run.cancel" if run.state is RunState.CANCELLED else "run.close"
            books.audit(command, action, str(run.run_id), {"state": before.value}, {"state": run.state.value})
    books.note_key(command, "run", run.run_id)
    return RunAnswer(replace(run))


def take_step(books: Books, command: TakeStep) -> Outcome:
    """Count an iteration on a run and on those it is a part of, unless one of them has made all of its own."""
    run = stopped(books) or find_open_run(books, command.run_id)
    if isinstance(run, Refused):
        return run
    lineage = books.lineage(run)
    for each in reversed(lineage):
        if each.limit_iterations is not None and each.iterations >= each.limit_iterations:
            return _no_more_iterations(each)
    for each in lineage:
        each.iterations += 1
        books.writes.changed_runs[each.run_id] = each
    step = Step(books.new_id(), run.run_id, run.iterations, command.label)
    books.writes.steps.append(step)
    books.loaded.steps[step.step_id] = step
    books.note_key(command, "step", step.step_id)
    return StepTaken(step, replace(run))


def rebalance(books: Books, command: Rebalance) -> Outcome:
    """Split what a run has available anew; allocations that are not named keep what they have used."""
    run = find_open_run(books, command.run_id)
    if isinstance(run, Refused):
        return run
    own = _account(books, run_account_key(run.run_id))
    available = None if own.limit_tokens is None else own.limit_tokens - own.used[0]
    parts = _split(available, command.shares)
    if isinstance(parts, Refused):
        return parts
    run.allocated = {name: _reallocate(books, run, name, parts.get(name, 0)) for name in {**run.allocated, **parts}}
    books.writes.changed_runs[run.run_id] = run
    books.note_key(command, "run", run.run_id)
    accounts = [own, *(_account(books, allocation_account_key(run.run_id, name)) for name in run.allocated)]
    return RunAnswer(replace(run), tuple(accounts))


def change_run(books: Books, command: ChangeRun) -> Outcome:
    """Set a run's limits anew; lower than what is used leaves less than nothing available."""
    run = find_open_run(books, command.run_id)
    if isinstance(run, Refused):
        return run
    before = run_state(run)
    own = _account(books, run_account_key(run.run_id))
    limits = command.limits.over(run.limits)
    if limits != run.limits:  # a first limit of zero changes nothing by its amount, and yet it binds
        change = change_between(run.limits, command.limits)
        books.change_limits(own, EntryKind.CHANGE, change, reason=command.reason, actor=command.actor)
        run.limits = limits
    if command.iterations is not None:
        run.limit_iterations = command.iterations
    books.writes.changed_runs[run.run_id] = run
    books.audit(command, "run.change", str(run.run_id), before, {**run_state(run), "reason": command.reason})
    books.note_key(command, "run", run.run_id)
    return RunAnswer(replace(run), (own,))


def change_between(before: Limits, after: Limits) -> Limits:
    """Return what leads from limits to others; a unit in which the others say nothing does not change."""
    pairs = zip(before.amounts, after.amounts, strict=True)
    return Limits(*(None if new is None else new - (old or 0) for old, new in pairs))


def _split(total_tokens: int | None, shares: tuple[Share, ...]) -> dict[str, int] | Refused:
    if not shares:
        return {}
    if total_tokens is None:
        detail = "an allocation splits limits.tokens, which is missing"
        return Refused(Code.INFEASIBLE_ALLOCATION, detail, "limits.tokens")
    try:
        return allocate(total_tokens, shares)
    except InfeasibleAllocation as error:
        return Refused(Code.INFEASIBLE_ALLOCATION, str(error), "allocation")


def _cost_center(books: Books, command: OpenRun, parent: Run | None, user: str, now: datetime) -> str:
    if parent is not None:
        return parent.cost_center
    return command.cost_center or user_cost_center(books.loaded.users, user, now)


def _no_more_iterations(run: Run) -> Refused:
    detail = f"run {run.run_id} has made {run.iterations} of {run.limit_iterations} iterations"
    extra = {
        "run_id": str(run.run_id),
        "iterations": {"limit": run.limit_iterations, "taken": run.iterations},
        "directive": {"stop": True},
    }
    return Refused(Code.ITERATIONS_EXCEEDED, detail, extra=extra)


def _reallocate(books: Books, run: Run, agent_type: str, part: int) -> int:
    key = allocation_account_key(run.run_id, agent_type)
    account = books.find_account(key)
    if account is None:
        _run_account(books, "allocation", key, Limits(tokens=part))
        return part
    limit = account.used[0] + part
    change = change_between(account.limits, Limits(tokens=limit))
    if not change.is_nothing:
        books.change_limits(account, EntryKind.REBALANCE, change)
    return limit


def _account(books: Books, key: AccountKey) -> Account:
    account = books.find_account(key)
    assert account is not None, "a run's accounts are made with it and loaded with every command about it"
    return account


def _run_account(books: Books, name: str, key: AccountKey, limits: Limits) -> Account:
    budget_id, subject, window_start = key
    account = Account(
        books.new_id(), budget_id, name, subject, window_start, None,
        Enforcement.HARD, Counts.ALL, limits, DEFAULT_THRESHOLDS,
    )  # fmt: skip
    return books.add_account(account)
