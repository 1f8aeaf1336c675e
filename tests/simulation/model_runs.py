"""The model of runs: sub-runs, steps, allocations, and limits that administrators change."""

from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_limits import UNITS, Balance, amounts_of
from tests.simulation.model_setup import SetupModel
from token_ledger.core.batch.administration import ChangeRun
from token_ledger.core.batch.commands import EndRun, OpenRun, Rebalance, Step

THRESHOLDS = (50, 75, 90, 100)


class RunModel(SetupModel):
    """Runs of one tenant."""

    runs: dict[int, dict[str, Any]]

    def lineage(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the runs that a run is a part of, and itself."""
        return [*(self.runs[number] for number in run["ancestors"]), run]

    def going(self, run_id: int) -> dict[str, Any] | Expected:
        """Return a run that is open, like its ancestors."""
        run = self.runs.get(run_id)
        if run is None:
            return Expected("refused", code="run_not_found")
        if any(each["state"] != "open" for each in self.lineage(run)):
            return Expected("refused", code="run_not_open")
        return run

    def _open_run(self, command: OpenRun) -> Expected:
        if self.stopped is not None:
            return Expected("refused", code="tenant_stopped")
        if command.attach and command.external_id is not None:
            same = [
                run
                for run in self.runs.values()
                if run["external_id"] == command.external_id and not isinstance(self.going(run["id"]), Expected)
            ]
            if same:
                return self._attach(command, max(same, key=lambda run: run["id"]))
        ancestors: tuple[int, ...] = ()
        user, cost_center = command.user, command.cost_center
        if command.parent_run_id is not None:
            parent = self.going(command.parent_run_id)
            if isinstance(parent, Expected):
                return parent
            if len(parent["ancestors"]) + 1 >= 8:
                return Expected("refused", code="run_too_deep")
            ancestors = (*parent["ancestors"], parent["id"])
            user, cost_center = parent["user"], parent["cost_center"]
        total, shares = command.limits.tokens, {}
        if command.shares:
            if total is None or sum(share.minimum_tokens for share in command.shares) > total:
                return Expected("refused", code="infeasible_allocation")
            shares = {share.agent_type: share.minimum_tokens for share in command.shares}
        return Expected("run", {
            "state": "open", "strict": command.strict, "shares": shares, "command": command, "ancestors": ancestors,
            "user": user, "cost_center": cost_center or self.cost_center_of(user or ""),
            "limits": amounts_of(command.limits),
            "external_id": command.external_id, "limit_iterations": command.iterations, "iterations": 0,
        })  # fmt: skip

    @staticmethod
    def _attach(command: OpenRun, run: dict[str, Any]) -> Expected:
        mine = command.user in (None, run["user"]) and command.cost_center in (None, run["cost_center"])
        inside = command.parent_run_id in (None, *run["ancestors"][-1:])
        return Expected("run", run) if mine and inside else Expected("refused", code="run_of_another")

    def bind_run(self, run: dict[str, Any], run_id: int, shares: dict[str, int]) -> None:
        """Take over the id of a new run and its allocation; any exact split above the minimums is right."""
        command = run["command"]
        assert all(shares[agent_type] >= minimum for agent_type, minimum in run["shares"].items())
        assert not shares or sum(shares.values()) == command.limits.tokens
        assert set(shares) == set(run["shares"])
        run["shares"], run["id"] = shares, run_id
        self.runs[run_id] = run
        self.accounts["run", run_id, None] = Balance(dict(run["limits"]), thresholds=THRESHOLDS)
        for agent_type, tokens in shares.items():
            self.accounts["run", run_id, agent_type] = self._share(tokens)

    @staticmethod
    def _share(tokens: int) -> Balance:
        return Balance({"tokens": tokens, "cost": None, "calls": None}, thresholds=THRESHOLDS)

    def _end_run(self, command: EndRun) -> Expected:
        run = self.runs.get(command.run_id)
        if run is None:
            return Expected("refused", code="run_not_found")
        if run["state"] == "open" or command.state == "cancelled":
            run["state"] = str(command.state)
        return Expected("run", run)

    def _take_step(self, command: Step) -> Expected:
        if self.stopped is not None:
            return Expected("refused", code="tenant_stopped")
        run = self.going(command.run_id)
        if isinstance(run, Expected):
            return run
        for each in self.lineage(run):
            if each["limit_iterations"] is not None and each["iterations"] >= each["limit_iterations"]:
                return Expected("refused", code="iterations_exceeded")
        for each in self.lineage(run):
            each["iterations"] += 1
        return Expected("step", {"iteration": run["iterations"]})

    def _rebalance(self, command: Rebalance) -> Expected:
        run = self.going(command.run_id)
        if isinstance(run, Expected):
            return run
        own = self.accounts["run", run["id"], None]
        available = None if own.limit["tokens"] is None else own.limit["tokens"] - own.used("tokens")
        if available is None or available < sum(share.minimum_tokens for share in command.shares):
            return Expected("refused", code="infeasible_allocation")
        run["splitting"] = {share.agent_type: share.minimum_tokens for share in command.shares}, available
        return Expected("run", run)

    def bind_split(self, run: dict[str, Any], allocated: dict[str, int]) -> None:
        """Take over the new allocation of a run."""
        minimums, available = run.pop("splitting")
        assert set(allocated) == {*run["shares"], *minimums}
        parts = {}
        for agent_type, limit in allocated.items():
            name = "run", run["id"], agent_type
            if name not in self.accounts:
                self.accounts[name] = self._share(limit)
                parts[agent_type] = limit
                continue
            account = self.accounts[name]
            parts[agent_type] = limit - account.used("tokens")
            before = account.limit["tokens"]
            assert before is not None
            account.change({"tokens": limit - before})
        assert all(parts[agent_type] >= minimum for agent_type, minimum in minimums.items())
        assert sum(parts.values()) == available
        assert all(part == 0 for agent_type, part in parts.items() if agent_type not in minimums)
        run["shares"] = allocated

    def _change_run(self, command: ChangeRun) -> Expected:
        run = self.going(command.run_id)
        if isinstance(run, Expected):
            return run
        wanted = amounts_of(command.limits)
        limits = {unit: run["limits"][unit] if wanted[unit] is None else wanted[unit] for unit in UNITS}
        limits |= dict.fromkeys(command.removed_limits)
        if limits != run["limits"]:
            account = self.accounts["run", run["id"], None]
            account.take_over(limits)
            account.watch()
            run["limits"] = limits
        if command.iterations is not None or command.removes_iterations:
            run["limit_iterations"] = command.iterations
        return Expected("run", run)
