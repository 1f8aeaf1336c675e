"""An independent ledger, written from the design: dictionaries and fractions, one command at a time.

It shares the commands, and the calendar that windows follow from, and nothing else with the core: no price, account
or state of the core is used here. Accounts are named, not numbered: ("run", run id, agent type or None) or ("budget",
budget id, subject, start of the window).
"""

from copy import deepcopy
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_holds import HoldModel
from tests.simulation.model_limits import UNITS, Balance, Name
from token_ledger.core.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    DecideIncrease,
    ForceRelease,
    GiveGrant,
    ReplaceBudget,
    SetCalendar,
    SetTrigger,
    SetUsers,
    StopTenant,
)
from token_ledger.core.commands import (
    Command,
    EndRun,
    ExpireDue,
    Extend,
    OpenLease,
    OpenRun,
    Preflight,
    Rebalance,
    Record,
    Release,
    Reserve,
    Settle,
    TakeStep,
    TendAccounts,
)
from token_ledger.core.window import Calendar, CalendarRule


class Model(HoldModel):
    """One tenant."""

    def __init__(self, zone: tzinfo, anchor: datetime) -> None:
        self.calendar, self.anchor = Calendar(CalendarRule(zone)), anchor
        self.now = anchor
        self.accounts: dict[Name, Balance] = {}
        self.numbered: dict[int, Name] = {}
        self.budgets: list[dict[str, Any]] = []
        self.runs: dict[int, dict[str, Any]] = {}
        self.holds: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.keys: dict[tuple[str, str], tuple[bytes, Expected]] = {}
        self.triggers: dict[str, tuple[SetTrigger, dict[str, Any]]] = {}
        self.increases: dict[int, dict[str, Any]] = {}
        self.users: dict[str, tuple[tuple[datetime | None, str], ...]] = {}
        self.stopped: str | None = None
        self.lapsed: list[dict[str, Any]] = []
        self.rolled = 0

    def begin_batch(self, now: datetime) -> None:
        """Expire what is due: every batch starts with that."""
        assert now >= self.now, "the clock of a ledger never goes back"
        self.now = now
        for hold in self.holds.values():
            if hold["state"] == "held" and hold["expires_at"] <= now:
                self._give_back(hold, "expired")
        for account in self.accounts.values():
            self.lapsed += account.lapse(now)
        for budget in self.budgets:
            if budget["in_use"]:
                self.take_terms(budget)

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
        if expected.kind not in ("refused", "swept", "preflight"):
            self.keys[command.source, command.key] = command.fingerprint, expected
        return expected

    def _decide_new(self, command: Command) -> Expected:
        match command:
            case Reserve():
                return self._reserve(command)
            case Preflight():
                return self._preflight(command)
            case Settle():
                return self._settle(command)
            case Extend():
                return self._extend(command)
            case Release():
                return self._end_hold(command.reservation_id, "released")
            case ForceRelease():
                return self._end_hold(command.reservation_id, "expired")
            case Record():
                return self._record(command)
            case SetTrigger():
                trigger: dict[str, Any] = {"kind": command.kind}
                self.triggers[command.kind] = command, trigger
                return Expected("trigger", trigger)
            case ExpireDue():
                return Expected("swept")
        decisions: dict[type[Any], Any] = {
            OpenRun: self._open_run, EndRun: self._end_run, TakeStep: self._take_step, Rebalance: self._rebalance,
            ChangeRun: self._change_run, CreateBudget: self._create_budget, ChangeBudget: self._change_budget,
            ReplaceBudget: self._replace_budget, ArchiveBudget: self._archive, GiveGrant: self._give_grant,
            AskIncrease: self._ask, DecideIncrease: self._decide_increase, SetUsers: self._set_users,
            SetCalendar: self._set_calendar, StopTenant: self._stop, TendAccounts: self._tend,
        }  # fmt: skip
        answer: Expected = decisions[type(command)](command)
        return answer

    # Reserve

    def _reserve(self, command: Reserve) -> Expected:
        if self.stopped is not None:
            return Expected("refused", code="tenant_stopped")
        run = None if command.run_id is None else self.going(command.run_id)
        if isinstance(run, Expected):
            return run
        if self.hold_cost(command.model, command) is None:
            return Expected("refused", code="unknown_model")
        lineage = self.lineage(run) if run else []
        if any(each["strict"] and command.agent_type not in each["shares"] for each in lineage):
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
        times = 1
        if isinstance(command, OpenLease):
            times = self._lent(names, command, model)
            if not times:
                small = self._lent_units(names, command, model, 1)
                return Expected("denied", {"fits": None, "refusing": small}, code="lease_too_small")
            refusing = self._refusing(names, command, model, command.max_output_tokens, times)
        cost = self.hold_cost(model, command)
        assert cost is not None
        tokens = (command.input_tokens + command.max_output_tokens) * times
        hold: dict[str, Any] = {
            "state": "held", "facts": self._facts(command, run, model), "run": command.run_id, "tags": command.tags,
            "model": model, "names": names, "created_at": self.now, "lease": isinstance(command, OpenLease),
            "expires_at": self.now + timedelta(seconds=command.ttl_seconds),
            "held": {"tokens": tokens, "uncached": tokens - command.cached_input_tokens * times, "cost": cost * times,
                     "calls": times},
            "drawn": dict.fromkeys(("tokens", "uncached", "cost", "calls"), 0), "warnings": refusing, "advice": advice,
        }  # fmt: skip
        if hold["lease"]:
            hold["expires_at"] = self._lease_end(names, hold["expires_at"])
        self._move(names, hold["held"], 1)
        for name in names:
            self.accounts[name].leases += hold["lease"]
        return Expected("granted", hold)

    def _lent(self, names: list[Name], command: OpenLease, model: str) -> int:
        """Count up from one call for as long as every hard account has twice that, for each lease and this one."""
        times = 0
        while times < command.calls and not self._lent_units(names, command, model, times + 1):
            times += 1
        return times

    def _lent_units(self, names: list[Name], command: OpenLease, model: str, times: int) -> list[tuple[Name, str]]:
        cost = self.hold_cost(model, command)
        assert cost is not None
        tokens = command.input_tokens + command.max_output_tokens
        short = []
        for name in names:
            account = self.accounts[name]
            takes = self._amounts(name, tokens, tokens - command.cached_input_tokens, cost)
            for unit in UNITS if account.hard else ():
                limit = account.limit[unit]
                wanted = 2 * (account.leases + 1) * takes[unit] * times
                if limit is not None and takes[unit] and wanted > limit - account.used(unit):
                    short.append((name, unit))
                    break
        return short

    def _preflight(self, command: Preflight) -> Expected:
        if self.stopped is not None:
            return Expected("refused", code="tenant_stopped")
        trial = deepcopy(self)
        fits, stopped_by = [], None
        for call, count in command.calls:
            answers = [trial._reserve(call) for _ in range(count)]
            fits.append(sum(answer.kind == "granted" for answer in answers))
            first = next((answer for answer in answers if answer.kind != "granted"), None)
            stopped_by = stopped_by or (first and first.code)
        return Expected("preflight", {"fits": tuple(fits), "stopped_by": stopped_by})

    def _refusing(
        self, names: list[Name], command: Reserve, model: str, output: int, times: int = 1
    ) -> list[tuple[Name, str]]:
        cost = self.hold_cost(model, command, output)
        assert cost is not None
        tokens = command.input_tokens + output
        found = []
        for name in names:
            one = self._amounts(name, tokens, tokens - command.cached_input_tokens, cost)
            unit = self.accounts[name].lacks({unit: amount * times for unit, amount in one.items()})
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
