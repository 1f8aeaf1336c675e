"""Runs of the fake service: opening, steps, splitting, ending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .accounts import Account, plus, split
from .books import Answer, FakeBooks, FakeRun, limit_of
from .problems import FakeProblem, missing

_DEEPEST = 8
_USUAL = {"triage": 500, "data": 3_000, "optimization": 2_000, "action": 1_000, "reporting": 1_500}
_JOB: dict[str, Any] = {
    "limits": {"tokens": 50_000},
    "iterations": 20,
    "allocation": [{"agent_type": name, "weight": weight, "minimum_tokens": 200} for name, weight in _USUAL.items()],
}


def open_run(books: FakeBooks, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the opening of a run, or the attaching to one that is open."""
    return books.once("run", body, lambda: _opened(books, body))


def read_run(books: FakeBooks, run_id: str) -> dict[str, Any]:
    """Answer what a run's state and balances are."""
    if run_id not in books.runs:
        raise FakeProblem(404, "run_not_found", f"there is no run {run_id}", field="run_id")
    return run_answer(books.runs[run_id])


def end_run(books: FakeBooks, run_id: str, state: str) -> dict[str, Any]:
    """Answer the end of a run; one that was closed can still be cancelled."""
    run = _found(books, run_id)
    if run.state == "open" or (run.state == "closed" and state == "cancelled"):
        run.state = state
        run.ended_at = run.ended_at or books.clock.now
    return run_answer(run)


def step(books: FakeBooks, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the start of another iteration."""
    return books.once("step", {**body, "run": run_id}, lambda: _stepped(books, run_id))


def rebalance(books: FakeBooks, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a new split of what a run has available."""
    return books.once("rebalance", {**body, "run": run_id}, lambda: _rebalanced(books, run_id, body))


def run_news(books: FakeBooks, run_id: str) -> dict[str, Any]:
    """Answer how a run stands, as the stream of its events tells it."""
    run = _found(books, run_id)
    balance = run.account.balance()
    return {
        "sequence": len(books.calls),
        "run_id": run.run_id,
        "state": run.state,
        "stop": books.why_stop(run),
        "iterations": _iterations(run),
        "limits": balance["limit"],
        "shares": [{"agent_type": name, "tokens": each.limit[0]} for name, each in run.allocations.items()],
        "setup_version": len(books.budgets),
    }


def run_answer(run: FakeRun, *, replayed: bool = False) -> dict[str, Any]:
    """Return a run as it stands."""
    parts = [{"agent_type": name, "balance": each.balance()} for name, each in run.allocations.items()]
    return {
        "run_id": run.run_id,
        "parent_run_id": run.ancestors[-1].run_id if run.ancestors else None,
        "ancestors": [each.run_id for each in run.ancestors],
        "depth": len(run.lineage),
        "iterations": _iterations(run),
        "external_id": run.external_id,
        "state": run.state,
        "user": run.user,
        "cost_center": run.cost_center,
        "strict": run.strict,
        "created_at": run.created_at.isoformat(),
        "ended_at": None if run.ended_at is None else run.ended_at.isoformat(),
        "balance": run.account.balance(),
        "allocations": parts,
        "replayed": replayed,
    }


def _found(books: FakeBooks, run_id: str) -> FakeRun:
    run = books.runs.get(run_id)
    if run is None:
        raise missing("run", run_id)
    return run


def _iterations(run: FakeRun) -> dict[str, Any]:
    return {"limit": run.most_iterations, "taken": run.iterations}


def _opened(books: FakeBooks, body: Mapping[str, Any]) -> Answer:
    books.check_running()
    if body.get("attach") and (attached := _attachable(books, body)) is not None:
        return lambda replayed: run_answer(attached, replayed=replayed)
    parent = None
    if body.get("parent_run_id") is not None:
        parent = books.open_run(body["parent_run_id"], "parent_run_id")
        if len(parent.lineage) >= _DEEPEST:
            detail = f"sub-runs go {_DEEPEST} levels deep and the parent is at the last; use one of its ancestors"
            raise FakeProblem(422, "run_too_deep", detail, field="parent_run_id")
    preset = _JOB if body.get("preset") == "job" else {}
    limit = limit_of({**preset.get("limits", {}), **(body.get("limits") or {})})
    shares = _split(limit[0], body.get("allocation") or preset.get("allocation", []))
    run_id = str(books.number())
    run = FakeRun(
        run_id,
        parent.user if parent else body["user"],
        parent.cost_center if parent else body.get("cost_center") or "unassigned",
        body.get("external_id"),
        body.get("strict", False),
        books.clock.now,
        Account(books.number(), "run", {"run": run_id}, limit),
        {name: _share(books, run_id, name, tokens) for name, tokens in shares.items()},
        ancestors=parent.lineage if parent else (),
        most_iterations=body.get("iterations") or preset.get("iterations"),
    )
    books.runs[run_id] = run
    return lambda replayed: run_answer(run, replayed=replayed)


def _share(books: FakeBooks, run_id: str, agent_type: str, tokens: int) -> Account:
    return Account(books.number(), "allocation", {"agent_type": agent_type, "run": run_id}, (tokens, None, None))


def _attachable(books: FakeBooks, body: Mapping[str, Any]) -> FakeRun | None:
    for run in reversed(books.runs.values()):
        if run.external_id is None or run.external_id != body.get("external_id"):
            continue
        if any(each.state != "open" for each in run.lineage):
            continue
        parent = run.ancestors[-1].run_id if run.ancestors else None
        found = {"user": run.user, "cost_center": run.cost_center, "parent_run_id": parent}
        for field, value in found.items():
            if body.get(field) is not None and body[field] != value:
                detail = (
                    f"the open run with external_id {run.external_id!r} has another {field}; use another external_id,"
                    " or open a run of its own without attach"
                )
                raise FakeProblem(409, "run_of_another", detail, field=field)
        return run
    return None


def _split(tokens: int | None, shares: list[dict[str, Any]]) -> dict[str, int]:
    if not shares:
        return {}
    if tokens is None:
        detail = "an allocation splits the run's limit in tokens, and it has none; set limits.tokens"
        raise FakeProblem(422, "infeasible_allocation", detail, field="limits.tokens")
    parts = split(tokens, shares)
    if parts is None:
        needed = sum(share.get("minimum_tokens", 0) for share in shares)
        detail = (
            f"the minimums need {needed} tokens, and the run has {tokens}; lower the minimums or raise limits.tokens"
        )
        raise FakeProblem(422, "infeasible_allocation", detail, field="allocation")
    return parts


def _stepped(books: FakeBooks, run_id: str) -> Answer:
    books.check_running()
    run = books.open_run(run_id)
    for each in reversed(run.lineage):
        if each.most_iterations is not None and each.iterations >= each.most_iterations:
            detail = (
                f"run {each.run_id} has made {each.iterations} of {each.most_iterations} iterations; end it, or ask an"
                " administrator for more"
            )
            raise FakeProblem(
                402, "iterations_exceeded", detail,
                run_id=each.run_id, iterations=_iterations(each), directive={"stop": True},
            )  # fmt: skip
    for each in run.lineage:
        each.iterations += 1
    step_id, number = str(books.number()), run.iterations
    return lambda replayed: {
        "run_id": run_id, "step_id": step_id, "iteration": number, "iterations": _iterations(run),
        "replayed": replayed,
    }  # fmt: skip


def _rebalanced(books: FakeBooks, run_id: str, body: Mapping[str, Any]) -> Answer:
    run = books.open_run(run_id)
    parts = _split(run.account.available[0], body.get("allocation") or [])
    for name in {**run.allocations, **parts}:
        part = parts.get(name, 0)
        if name not in run.allocations:
            run.allocations[name] = _share(books, run_id, name, part)
        else:
            account = run.allocations[name]
            account.limit = (plus(account.used, (part, 0, 0))[0], *account.limit[1:])
    return lambda replayed: run_answer(run, replayed=replayed)
