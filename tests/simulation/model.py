"""An independent ledger, written from the design: dictionaries and fractions, one command at a time.

It shares the commands and nothing else with the core: no price, window, account or state of the core is used here.
Accounts are named, not numbered: ("run", run id, agent type or None) or ("budget", budget id, subject, local period).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from tests.simulation.model_prices import PricedModel, fitted, kinds_of
from token_ledger.core.administration import ArchiveBudget, CreateBudget, SetTrigger
from token_ledger.core.commands import Command, EndRun, ExpireDue, OpenRun, Record, Release, Reserve, Settle

UNITS = ("tokens", "cost", "calls")
Name = tuple[Any, ...]
Facts = dict[str, str]


@dataclass
class Balance:
    """What an account may hold, has settled, holds, and was booked beyond its holds, per unit."""

    limit: dict[str, int | None]
    hard: bool = True
    uncached: bool = False
    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    excess: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))

    def lacks(self, amounts: dict[str, int]) -> str | None:
        """Return the first unit without room."""
        for unit in UNITS:
            limit = self.limit[unit]
            if limit is not None and self.settled[unit] + self.held[unit] + amounts[unit] > limit:
                return unit
        return None


@dataclass
class Expected:
    """What the ledger must answer: a kind of outcome, the thing it is about, what must be true of it."""

    kind: str
    thing: dict[str, Any] | None = None
    code: str | None = None
    replayed: bool = False


class Model(PricedModel):
    """One tenant."""

    def __init__(self, zone: tzinfo, anchor: datetime) -> None:
        self.zone, self.anchor = zone, anchor
        self.now = anchor
        self.accounts: dict[Name, Balance] = {}
        self.budgets: list[dict[str, Any]] = []
        self.runs: dict[int, dict[str, Any]] = {}
        self.holds: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.keys: dict[tuple[str, str], tuple[bytes, Expected]] = {}
        self.triggers: dict[str, tuple[SetTrigger, dict[str, Any]]] = {}

    def begin_batch(self, now: datetime) -> None:
        """Expire what is due: every batch starts with that."""
        assert now >= self.now, "the clock of a ledger never goes back"
        self.now = now
        for hold in self.holds.values():
            if hold["state"] == "held" and hold["expires_at"] <= now:
                self._give_back(hold, "expired")

    def decide(self, command: Command) -> Expected:
        """Return what the ledger must answer, and take it as having happened."""
        known = self.keys.get((command.source, command.key)) if command.key else None
        if known is not None:
            body, answer = known
            gone = answer.kind == "trigger" and answer.thing not in [thing for _, thing in self.triggers.values()]
            if body != command.fingerprint or gone:
                return Expected("refused", code="idempotency_conflict")
            return Expected(answer.kind, answer.thing, answer.code, replayed=True)
        expected = self._decide_new(command)
        if expected.kind not in ("refused", "swept"):
            self.keys[command.source, command.key] = command.fingerprint, expected
        return expected

    def _decide_new(self, command: Command) -> Expected:
        match command:
            case Reserve():
                return self._reserve(command)
            case Settle():
                return self._settle(command)
            case Release():
                return self._release(command)
            case Record():
                return self._record(command)
            case OpenRun():
                return self._open_run(command)
            case EndRun():
                return self._end_run(command)
            case CreateBudget():
                if any(budget["name"] == command.name and budget["in_use"] for budget in self.budgets):
                    return Expected("refused", code="budget_exists")
                budget = {"name": command.name, "in_use": True, "command": command}
                self.budgets.append(budget)
                return Expected("budget", budget)
            case ArchiveBudget():
                for budget in self.budgets:
                    if budget["id"] == command.budget_id and budget["in_use"]:
                        budget["in_use"] = False
                        return Expected("budget", budget)
                return Expected("refused", code="budget_not_found")
            case SetTrigger():
                trigger: dict[str, Any] = {"kind": command.kind}
                self.triggers[command.kind] = command, trigger
                return Expected("trigger", trigger)
            case ExpireDue():
                return Expected("swept")
        raise AssertionError(f"the simulation sends no {command}")

    # Reserve

    def _reserve(self, command: Reserve) -> Expected:
        run = None if command.run_id is None else self.runs.get(command.run_id)
        if command.run_id is not None and run is None:
            return Expected("refused", code="run_not_found")
        if run is not None and run["state"] != "open":
            return Expected("refused", code="run_not_open")
        if self.hold_cost(command.model, command) is None:
            return Expected("refused", code="unknown_model")
        if run is not None and run["strict"] and command.agent_type not in run["shares"]:
            return Expected("denied", {"fits": None, "refusing": []}, code="not_allocated")
        advice = self._advice(command, run)
        model = next(
            (a["model"] for a in advice if a["applied"] and a["technique"] == "model_downgrade"), command.model
        )
        names = self._names(self._facts(command, run, model), run)
        refusing = self._refusing(names, command, model, command.max_output_tokens)
        if any(self.accounts[name].hard for name, _ in refusing):
            fits = self._largest_output(names, command, model)
            return Expected("denied", {"fits": fits, "refusing": refusing}, code="budget_exceeded")
        cost = self.hold_cost(model, command)
        assert cost is not None
        hold: dict[str, Any] = {
            "state": "held", "facts": self._facts(command, run, model), "run": command.run_id, "tags": command.tags,
            "model": model, "names": names, "created_at": self.now,
            "expires_at": self.now + timedelta(seconds=command.ttl_seconds),
            "tokens": command.input_tokens + command.max_output_tokens,
            "uncached": command.input_tokens + command.max_output_tokens - command.cached_input_tokens,
            "cost": cost, "warnings": refusing, "advice": advice,
        }  # fmt: skip
        for name in names:
            amounts = self._amounts(name, hold["tokens"], hold["uncached"], hold["cost"])
            for unit in UNITS:
                self.accounts[name].held[unit] += amounts[unit]
        return Expected("granted", hold)

    def _refusing(self, names: list[Name], command: Reserve, model: str, output: int) -> list[tuple[Name, str]]:
        cost = self.hold_cost(model, command, output)
        assert cost is not None
        tokens = command.input_tokens + output
        found = []
        for name in names:
            unit = self.accounts[name].lacks(self._amounts(name, tokens, tokens - command.cached_input_tokens, cost))
            if unit is not None:
                found.append((name, unit))
        return found

    def _largest_output(self, names: list[Name], command: Reserve, model: str) -> int | None:
        """Search for the largest output limit that every hard account has room for: more output never fits better."""

        def fits(output: int) -> bool:
            return not any(self.accounts[name].hard for name, _ in self._refusing(names, command, model, output))

        low, high = 0, command.max_output_tokens
        if high < 1 or not fits(1):
            return None
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def _advice(self, command: Reserve, run: dict[str, Any] | None) -> list[dict[str, Any]]:
        names = self._names(self._facts(command, run, command.model), run)
        cost = self.hold_cost(command.model, command)
        assert cost is not None
        advice = []
        for kind, unit, technique, size in (
            ("high_cost", "cost", "model_downgrade", cost),
            ("high_token_usage", "tokens", "aggressive_compression", command.input_tokens + command.max_output_tokens),
        ):
            if kind not in self.triggers or self.triggers[kind][0].mode == "off":
                continue
            trigger = self.triggers[kind][0]
            per_call = trigger.per_call_nanos if unit == "cost" else trigger.per_call_tokens
            large = per_call is not None and size >= per_call
            if not large and not any(self._is_used(self.accounts[name], unit, trigger.at_percent) for name in names):
                continue
            model = self._cheaper_model(trigger, command, cost) if unit == "cost" else None
            wanted = trigger.mode == "apply" or technique in command.apply
            applied = wanted and (unit == "tokens" or model is not None)
            advice.append({"technique": technique, "applied": applied, "model": model})
        return advice

    @staticmethod
    def _is_used(account: Balance, unit: str, percent: int) -> bool:
        limit = account.limit[unit]
        return limit is not None and Fraction(account.settled[unit] + account.held[unit]) >= Fraction(
            percent * limit, 100
        )

    def _cheaper_model(self, trigger: SetTrigger, command: Reserve, cost: int) -> str | None:
        for step in trigger.downgrades:
            able = set(command.requires) <= set(step.capabilities)
            long_enough = command.input_tokens + command.max_output_tokens <= step.context_tokens
            if step.model == command.model and able and long_enough:
                other = self.hold_cost(step.to_model, command)
                return step.to_model if other is not None and other < cost else None
        return None

    # The end of a hold, and calls without one

    def _settle(self, command: Settle) -> Expected:
        hold = self.holds.get(command.reservation_id)
        if hold is None:
            return Expected("refused", code="reservation_not_found")
        if hold["state"] in ("settled", "released"):
            return Expected("quarantined", {}, code="reservation_not_open")
        at = command.occurred_at or self.now
        at = min(max(at, hold["created_at"]), self.now)
        event = self._event(command, hold["facts"] | {"model": command.model or hold["model"]}, at)
        event |= {"run": hold["run"], "tags": hold["tags"], "names": hold["names"], "late": hold["state"] == "expired"}
        event["overrun"] = any(event[unit] > hold[unit] for unit in ("tokens", "uncached", "cost"))
        if hold["state"] == "held":
            self._give_back(hold, "settled")
        hold["state"] = "settled"
        hold["event"] = event
        self._book(event, None if event["late"] else hold)
        return Expected("settled", event)

    def _release(self, command: Release) -> Expected:
        hold = self.holds.get(command.reservation_id)
        if hold is None:
            return Expected("refused", code="reservation_not_found")
        if hold["state"] != "held":
            return Expected("refused", code="reservation_not_open")
        self._give_back(hold, "released")
        return Expected("released", hold)

    def _record(self, command: Record) -> Expected:
        run = None if command.run_id is None else self.runs.get(command.run_id)
        if command.run_id is not None and run is None:
            return Expected("quarantined", {}, code="run_not_found")
        at = command.occurred_at or self.now
        if at < self.now - timedelta(days=35) or at > self.now + timedelta(minutes=5):
            return Expected("quarantined", {}, code="time_out_of_range")
        facts = self._facts(command, run, command.model)
        event = self._event(command, facts, at)
        event |= {"run": command.run_id, "tags": command.tags, "names": self._names(facts, run)}
        event |= {"late": False, "overrun": False}
        self._book(event, None)
        return Expected("recorded", event)

    def _event(self, command: Settle | Record, facts: Facts, at: datetime) -> dict[str, Any]:
        usage = fitted(command.usage)
        cost = self.usage_cost(facts["model"], usage, at)
        return {
            "facts": facts, "at": at, "usage": usage, "cost": cost or 0, "unpriced": cost is None,
            "clamped": usage != kinds_of(command.usage), "tokens": usage["input"] + usage["output"],
            "uncached": usage["input"] + usage["output"] - usage["cache_read"], "failed": command.failed,
        }  # fmt: skip

    def _book(self, event: dict[str, Any], hold: dict[str, Any] | None) -> None:
        self.events.append(event)
        for name in event["names"]:
            account = self.accounts[name]
            amounts = self._amounts(name, event["tokens"], event["uncached"], event["cost"])
            was_held = self._amounts(name, hold["tokens"], hold["uncached"], hold["cost"]) if hold else None
            for unit in UNITS:
                account.settled[unit] += amounts[unit]
                account.excess[unit] += max(0, amounts[unit] - (was_held[unit] if was_held else 0))

    def _give_back(self, hold: dict[str, Any], state: str) -> None:
        hold["state"] = state
        for name in hold["names"]:
            amounts = self._amounts(name, hold["tokens"], hold["uncached"], hold["cost"])
            for unit in UNITS:
                self.accounts[name].held[unit] -= amounts[unit]

    # Runs

    def _open_run(self, command: OpenRun) -> Expected:
        total, shares = command.limits.tokens, {}
        if command.shares:
            if total is None or sum(share.minimum_tokens for share in command.shares) > total:
                return Expected("refused", code="infeasible_allocation")
            shares = {share.agent_type: share.minimum_tokens for share in command.shares}
        return Expected("run", {"state": "open", "strict": command.strict, "shares": shares, "command": command})

    def _end_run(self, command: EndRun) -> Expected:
        run = self.runs.get(command.run_id)
        if run is None:
            return Expected("refused", code="run_not_found")
        if run["state"] == "open" or command.state == "cancelled":
            run["state"] = str(command.state)
        return Expected("run", run)

    def bind_run(self, run: dict[str, Any], run_id: int, shares: dict[str, int]) -> None:
        """Take over the id of a new run and how its tokens were split (any exact split above the minimums is right)."""
        command = run["command"]
        assert all(shares[agent_type] >= minimum for agent_type, minimum in run["shares"].items())
        assert not shares or sum(shares.values()) == command.limits.tokens
        assert set(shares) == set(run["shares"])
        run["shares"] = shares
        self.runs[run_id] = run
        limits = command.limits
        self.accounts["run", run_id, None] = Balance(
            {"tokens": limits.tokens, "cost": limits.nanos, "calls": limits.calls}
        )
        for agent_type, tokens in shares.items():
            self.accounts["run", run_id, agent_type] = Balance({"tokens": tokens, "cost": None, "calls": None})

    # Accounts

    def _facts(self, command: Reserve | Record, run: dict[str, Any] | None, model: str) -> Facts:
        facts = {
            "user": run["command"].user if run else command.user or "",
            "cost_center": run["command"].cost_center if run else command.cost_center or "unassigned",
            "agent_type": command.agent_type, "request_type": command.request_type, "model": model,
        }  # fmt: skip
        if command.tool is not None:
            facts["tool"] = command.tool
        if command.run_id is not None:
            facts["run"] = str(command.run_id)
        return facts | {f"tag.{name}": value for name, value in command.tags}

    def _names(self, facts: Facts, run: dict[str, Any] | None) -> list[Name]:
        names: list[Name] = []
        if run is not None:
            names.append(("run", int(facts["run"]), None))
            if facts["agent_type"] in run["shares"]:
                names.append(("run", int(facts["run"]), facts["agent_type"]))
        for budget in self.budgets:
            command = budget["command"]
            wanted = dict(command.selector)
            if command.window == "run":
                wanted.setdefault("run", "*")
            if not budget["in_use"] or not all(v in ("*", facts.get(d)) and d in facts for d, v in wanted.items()):
                continue
            kept = {d for d, v in wanted.items() if v == "*"} | ({"run"} if command.window == "run" else set())
            name = (
                "budget",
                budget["id"],
                frozenset((d, facts[d]) for d in kept),
                self.period(command.window, self.now),
            )
            limits = {"tokens": command.limits.tokens, "cost": command.limits.nanos, "calls": command.limits.calls}
            fresh = Balance(limits, command.enforcement == "hard", command.counts == "uncached")
            self.accounts.setdefault(name, fresh)
            names.append(name)
        return names

    def period(self, window: str, at: datetime) -> str:
        """Return the name of the local day or month of an instant."""
        local = at.astimezone(self.zone)
        return {"day": f"{local:%Y-%m-%d}", "month": f"{local:%Y-%m}"}.get(window, "")

    def _amounts(self, name: Name, tokens: int, uncached: int, cost: int) -> dict[str, int]:
        return {"tokens": uncached if self.accounts[name].uncached else tokens, "cost": cost, "calls": 1}
