"""An independent ledger for comparison: dictionaries and fractions, one command at a time.

It shares the commands, and the calendar that windows follow from, and nothing else with the core: no price, account
or state of the core is used here. Accounts are named, not numbered: ("run", run id, agent type or None) or ("budget",
budget id, subject, start of the window).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_holds import HoldModel
from tests.simulation.model_limits import UNITS, Balance, Name
from token_ledger.core.batch import administration, commands
from token_ledger.core.model.window import Calendar, CalendarRule


def _stops(command: commands.Command) -> bool:
    """Return whether a command asks for an end, which no key of another request may prevent."""
    if isinstance(command, administration.StopTenant):
        return command.reason is not None
    return isinstance(command, commands.Release | commands.EndRun | administration.ForceRelease)


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
        self.contradictions: dict[tuple[str, str, bytes], dict[str, Any]] = {}
        self.triggers: dict[str, tuple[administration.SetTrigger, dict[str, Any]]] = {}
        self.increases: dict[int, dict[str, Any]] = {}
        self.users: dict[str, tuple[tuple[datetime | None, str], ...]] = {}
        self.spellings: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
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

    def decide(self, command: commands.Command) -> Expected:
        """Return what the ledger must answer, and do the same in the model."""
        known = self.keys.get((command.source, command.key)) if command.key else None
        if known is not None:
            body, answer = known
            gone = answer.kind == "trigger" and answer.thing not in [thing for _, thing in self.triggers.values()]
            if body != command.fingerprint and _stops(command):
                return self._decide_new(command)
            if body != command.fingerprint and isinstance(command, commands.Report):
                return self._contradiction(command)
            if body != command.fingerprint or gone:
                return Expected("refused", code="idempotency_conflict")
            return Expected(answer.kind, answer.thing, answer.code, replayed=True)
        expected = self._decide_new(command)
        if expected.kind not in ("refused", "swept", "preflight") and not expected.replayed:
            self.keys[command.source, command.key] = command.fingerprint, expected
        return expected

    def _contradiction(self, report: commands.Report) -> Expected:
        """Keep a report under a key that was used for another request, once for every request."""
        apart = report.source, report.key, report.fingerprint
        if apart in self.contradictions:
            return Expected("quarantined", self.contradictions[apart], "idempotency_conflict", replayed=True)
        thing = self.contradictions[apart] = {}
        return Expected("quarantined", thing, code="idempotency_conflict")

    def _decide_new(self, command: commands.Command) -> Expected:
        match command:
            case commands.Reserve():
                return self._reserve(command)
            case commands.Preflight():
                return self._preflight(command)
            case commands.Settle():
                return self._settle(command)
            case commands.Extend():
                return self._extend(command)
            case commands.Release():
                return self._end_hold(command.reservation_id, "released")
            case administration.ForceRelease():
                return self._end_hold(command.reservation_id, "expired")
            case commands.Record():
                return self._record(command)
            case administration.SetTrigger():
                trigger: dict[str, Any] = {"kind": command.kind}
                self.triggers[command.kind] = command, trigger
                for step in command.downgrades:
                    self.use_name(step.model)
                    self.use_name(step.to_model)
                return Expected("trigger", trigger)
            case commands.ExpireDue():
                return Expected("swept")
        decisions: dict[type[Any], Any] = {
            commands.OpenRun: self._open_run,
            commands.EndRun: self._end_run,
            commands.Step: self._take_step,
            commands.Rebalance: self._rebalance,
            administration.ChangeRun: self._change_run,
            administration.CreateBudget: self._create_budget,
            administration.ChangeBudget: self._change_budget,
            administration.ReplaceBudget: self._replace_budget,
            administration.ArchiveBudget: self._archive,
            administration.GiveGrant: self._give_grant,
            administration.AskIncrease: self._ask,
            administration.DecideIncrease: self._decide_increase,
            administration.SetUsers: self._set_users,
            administration.SetCalendar: self._set_calendar,
            administration.StopTenant: self._stop,
            administration.Reverse: self._reverse,
            administration.RenameModel: self._rename,
            commands.TendAccounts: self._tend,
        }
        answer: Expected = decisions[type(command)](command)
        return answer

    # Reserve

    def _reserve(self, command: commands.Reserve) -> Expected:
        if self.stopped is not None:
            return Expected("refused", code="tenant_stopped")
        run = None if command.run_id is None else self.going(command.run_id)
        if isinstance(run, Expected):
            return run
        if self.hold_cost(command.model, command) is None:
            return Expected("refused", code="unknown_model")
        self.use_name(command.model)
        lineage = self.lineage(run) if run else []
        if any(each["strict"] and command.agent_type not in each["shares"] for each in lineage):
            return Expected("denied", {"fits": None, "refusing": []}, code="not_allocated")
        advice = self._advice(command, run)
        model = self._chosen_model(advice, command)
        names = self._names(self._facts(command, run, model), run)
        refusing = self._refusing(names, command, model, command.max_output_tokens)
        if any(self.accounts[name].hard for name, _ in refusing):
            fits = self._largest_output(command, run)
            return Expected("denied", {"fits": fits, "refusing": refusing}, code="budget_exceeded")
        times = 1
        if isinstance(command, commands.Lease):
            times = self._lent(names, command, model)
            if not times:
                small = self._lent_units(names, command, model, 1)
                fits = self._largest_output(command, run)
                return Expected("denied", {"fits": fits, "refusing": small}, code="lease_too_small")
            refusing = self._refusing(names, command, model, command.max_output_tokens, times)
        cost = self.hold_cost(model, command)
        assert cost is not None
        tokens = (command.input_tokens + command.max_output_tokens) * times
        hold: dict[str, Any] = {
            "state": "held", "facts": self._facts(command, run, model), "run": command.run_id, "tags": command.tags,
            "model": model, "names": names, "on": names, "created_at": self.now, "order": self.next_order(),
            "lease": isinstance(command, commands.Lease), "key": command.key,
            "expires_at": self.now + timedelta(seconds=command.ttl_seconds),
            "held": {"tokens": tokens, "uncached": tokens - command.cached_input_tokens * times, "cost": cost * times,
                     "calls": times},
            "drawn": dict.fromkeys(("tokens", "uncached", "cost", "calls"), 0), "parts": [],
            "warnings": refusing, "advice": advice, "announced": None,
        }  # fmt: skip
        if command.max_usage or command.service_tier is not None:
            hold["announced"] = command.max_usage, command.service_tier, self.without_price(model, command)
        if hold["lease"]:
            hold["expires_at"] = self._lease_end(names, hold["expires_at"])
        self._move(names, hold["held"], 1)
        for name in names:
            self.accounts[name].leases += hold["lease"]
        return Expected("granted", hold)

    def _lent(self, names: list[Name], command: commands.Lease, model: str) -> int:
        """Count up while every hard account has twice as much left for each open lease and this one."""
        times = 0
        while times < command.calls and not self._lent_units(names, command, model, times + 1):
            times += 1
        return times

    def _lent_units(self, names: list[Name], command: commands.Lease, model: str, times: int) -> list[tuple[Name, str]]:
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

    def _preflight(self, command: commands.Preflight) -> Expected:
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
        self, names: list[Name], command: commands.Reserve, model: str, output: int, times: int = 1
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

    @staticmethod
    def _chosen_model(advice: list[dict[str, Any]], command: commands.Reserve) -> str:
        downgrades = (a["model"] for a in advice if a["applied"] and a["technique"] == "model_downgrade")
        return next(downgrades, command.model)

    def _largest_output(self, command: commands.Reserve, run: dict[str, Any] | None) -> int | None:
        """Try every output limit from the largest down that a model has room for, with the model that it would get."""
        accounts, rolled = dict(self.accounts), self.rolled
        chosen = self._choice_by_output(command, run)
        trigger, _ = self.triggers.get("high_cost", (None, None))
        models = {command.model, *(step.to_model for step in (trigger.downgrades if trigger else ()))}
        rooms: dict[str, int] = {}
        for model in sorted(models):
            if self.hold_cost(model, command) is not None:
                names = self._names(self._facts(command, run, model), run)
                rooms[model] = self._room_for_output(names, command, model)
        outputs = range(min(command.max_output_tokens, max(rooms.values())), 0, -1)
        found = next((output for output in outputs if output <= rooms[chosen(output)]), None)
        self.accounts, self.rolled = accounts, rolled  # trying a model opens none of its accounts
        return found

    def _choice_by_output(self, command: commands.Reserve, run: dict[str, Any] | None) -> Callable[[int], str]:
        """Return which model a call gets with an output limit; whether an account fires a trigger is known before."""
        trigger, _ = self.triggers.get("high_cost", (None, None))
        if trigger is None or trigger.mode == "off":
            return lambda _: command.model
        if trigger.mode != "apply" and "model_downgrade" not in command.apply:
            return lambda _: command.model
        names = self._names(self._facts(command, run, command.model), run)
        fires = any(self._is_used(self.accounts[name], "cost", trigger.at_percent) for name in names)

        def chosen(output: int) -> str:
            cost = self.hold_cost(command.model, command, output)
            large = cost is not None and trigger.per_call_nanos is not None and cost >= trigger.per_call_nanos
            return (self._cheaper_model(trigger, command, output) if fires or large else None) or command.model

        return chosen

    def _room_for_output(self, names: list[Name], command: commands.Reserve, model: str) -> int:
        """Search for the largest output that the hard accounts of one model have room for, 0 for none."""

        def fits(output: int) -> bool:
            tried = replace(command, max_output_tokens=output)
            if any(self.accounts[name].hard for name, _ in self._refusing(names, tried, model, output)):
                return False
            return not isinstance(tried, commands.Lease) or not self._lent_units(names, tried, model, 1)

        low, high = 0, command.max_output_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def _advice(self, command: commands.Reserve, run: dict[str, Any] | None) -> list[dict[str, Any]]:
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
            model = self._cheaper_model(trigger, command, command.max_output_tokens) if unit == "cost" else None
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

    def _cheaper_model(self, trigger: administration.SetTrigger, command: commands.Reserve, output: int) -> str | None:
        for step in trigger.downgrades:
            able = set(command.requires) <= set(step.capabilities)
            long_enough = command.input_tokens + output <= step.context_tokens
            if self.booked(step.model) == self.booked(command.model) and able and long_enough:
                mine = self.exact_cost(command.model, command, output)
                other = self.exact_cost(step.to_model, command, output)
                return step.to_model if mine is not None and other is not None and other < mine else None
        return None
