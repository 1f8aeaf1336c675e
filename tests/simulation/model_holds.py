"""The model of holds, of calls without a hold, and of the accounts that both fall on."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_duplicates import DuplicateModel
from tests.simulation.model_limits import UNITS, Balance, Name, rolled_over, terms_at
from tests.simulation.model_names import is_chosen
from tests.simulation.model_prices import PricedModel, fitted, kinds_of
from tests.simulation.model_runs import RunModel
from tests.simulation.price_list import COUNTED
from token_ledger.core.batch import administration
from token_ledger.core.batch.commands import Extend, Record, Reserve, Settle
from token_ledger.core.model.window import Calendar

Facts = dict[str, str]


class HoldModel(PricedModel, RunModel, DuplicateModel):
    """Holds, events and accounts of one tenant."""

    now: datetime
    calendar: Calendar
    anchor: datetime
    accounts: dict[Name, Balance]
    numbered: dict[int, Name]
    budgets: list[dict[str, Any]]
    holds: dict[int, dict[str, Any]]
    events: list[dict[str, Any]]
    rolled: int

    # The end of a hold, and calls without one

    def _settle(self, command: Settle) -> Expected:
        hold = self.holds.get(command.reservation_id)
        if hold is None:
            return Expected("refused", code="reservation_not_found")
        if hold["state"] in ("settled", "released"):
            return Expected("quarantined", {}, code="reservation_not_open")
        at = hold["created_at"]
        if hold["lease"]:
            at = min(max(command.occurred_at or self.now, at), self.now)
        facts, held_model = dict(hold["facts"]), hold["facts"]["model"]
        if command.model is not None:
            served = self.use_name(command.model)
            # The model of the hold keeps the name that it was booked under.
            if served not in (held_model, self.renamed.get(held_model)) and command.model != hold["model"]:
                facts["model"] = served
        if command.tool is not None:
            facts["tool"] = command.tool
        event = self._event(command, facts, command.model or hold["model"], at)
        self._price_whole(event, hold, command.model)
        self.say_repetition(event, command, whole=hold["lease"] or not (command.part or hold["parts"]))
        is_duplicate = event["repetition"] == "duplicate"
        names = self._served_names(hold, facts)
        event |= {"run": hold["run"], "tags": hold["tags"], "names": names, "late": hold["state"] == "expired"}
        event |= {"hold": command.reservation_id, "key": command.key, "source": None}
        event["part"] = command.part
        event["calls"] = 0 if is_duplicate or (command.part and not hold["lease"]) else 1
        drawn, held = hold["drawn"], hold["held"]
        event["overrun"] = any(drawn[unit] + event[unit] > held[unit] for unit in ("tokens", "uncached", "cost"))
        event["overrun"] = (event["overrun"] or drawn["calls"] + 1 > held["calls"]) and not is_duplicate
        event["others"] = self._other_models(command, hold, event)
        before = self._remaining(hold)
        if command.part:
            if not hold["lease"]:
                hold["parts"].append(event)
            for unit in drawn:
                drawn[unit] += event[unit]
            after = self._remaining(hold)
            if hold["state"] == "held":
                self._move(hold["on"], {unit: before[unit] - after[unit] for unit in before}, -1)
            covered = {unit: before[unit] - after[unit] for unit in before}
        else:
            if hold["state"] == "held":
                self._give_back(hold, "settled")
            hold["state"], hold["event"] = "settled", event
            covered = before
        if event["repetition"] == "replaces":
            self._correct(next(each for each in self.events if each.get("id") == event["earlier"]))
        self._book(event, {} if event["late"] else dict.fromkeys(hold["on"], covered))
        for other in event["others"]:
            self._book(other, {})
        event["stop"] = self._why_stop(hold)
        return Expected("settled", event)

    def _other_models(self, command: Settle, hold: dict[str, Any], call: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what other models within a call are booked with: no call, no hold, no room that was held."""
        found = {call["facts"]["model"]: (call["repetition"], call["earlier"])}
        run = self.runs[hold["run"]] if hold["run"] else None
        events = []
        for other in command.other_models:
            facts = call["facts"] | {"model": self.use_name(other.model)}
            event = self._event(replace(command, usage=other.usage), facts, other.model, call["at"])
            self._price(event, event["usage"], hold, other.model)
            self.say_repetition(event, command, whole=facts["model"] not in found, on_hold=False)
            if found.setdefault(facts["model"], (event["repetition"], event["earlier"]))[0] == "duplicate":
                self.take_out(event, found[facts["model"]][1])
            event |= {"run": hold["run"], "tags": hold["tags"], "names": self._names(facts, run, call["at"])}
            event |= {"late": False, "overrun": False, "part": False, "calls": 0}
            events.append(event | {"hold": None, "key": command.key, "source": None, "kind": "other_model"})
        return events

    def _price_whole(self, event: dict[str, Any], hold: dict[str, Any], model: str | None) -> None:
        """Let an event cost what the whole call costs, all that its model served of it, but for what is booked."""
        booked = [part for part in hold["parts"] if part["facts"]["model"] == event["facts"]["model"]]
        whole = {kind: sum(part["usage"][kind] for part in (*booked, event)) for kind in event["usage"]}
        self._price(event, whole, hold, model or hold["model"])
        event["cost"] -= sum(part["cost"] for part in booked)

    def _price(self, event: dict[str, Any], usage: dict[str, int], hold: dict[str, Any], model: str) -> None:
        """Let an event cost what a usage costs by the price of a model, and where that has none by that of the hold."""
        event["unknown"] = event["unknown"] and model != hold["model"]
        held = self.entry_at(hold["model"], hold["created_at"])
        if event["unknown"] or model == hold["model"]:
            cost = self.usage_cost(hold["model"], usage, hold["created_at"])
        else:
            cost = self.usage_cost(model, usage, event["at"])
        assert cost is not None
        own = None if event["unknown"] else held if model == hold["model"] else self.entry_at(model, event["at"])
        counted, has_prices = self.counted_cost(usage, event["at"], own, held)
        event |= {"cost": cost + counted, "unpriced": event["unknown"] or not has_prices}

    @staticmethod
    def _remaining(hold: dict[str, Any]) -> dict[str, int]:
        return {unit: max(0, hold["held"][unit] - hold["drawn"][unit]) for unit in hold["held"]}

    def _why_stop(self, hold: dict[str, Any]) -> str | None:
        if self.stopped is not None:
            return "tenant_stopped"
        for each in self.lineage(self.runs[hold["run"]]) if hold["run"] else []:
            if each["state"] != "open":
                return f"run_{each['state']}"
        if not hold["lease"] or hold["state"] not in ("expired", "held"):
            return None
        nothing = dict.fromkeys(UNITS, 0)
        is_over = any(self.accounts[name].hard and self.accounts[name].lacks(nothing) for name in hold["on"])
        return "lease_expired" if hold["state"] == "expired" else "lease_outdated" if is_over else None

    def _end_hold(self, number: int, state: str) -> Expected:
        hold = self.holds.get(number)
        if hold is None:
            return Expected("refused", code="reservation_not_found")
        if hold["state"] == state:
            return Expected("released", hold, replayed=True)
        if hold["state"] != "held":
            return Expected("refused", code="reservation_not_open")
        self._give_back(hold, state)
        return Expected("released", hold)

    def _extend(self, command: Extend) -> Expected:
        hold = self.holds.get(command.reservation_id)
        if hold is None:
            return Expected("refused", code="reservation_not_found")
        if hold["state"] != "held":
            return Expected("refused", code="reservation_not_open")
        until = self.now + timedelta(seconds=command.ttl_seconds)
        if hold["lease"]:
            until = self._lease_end(hold["on"], until)
        hold["expires_at"] = max(hold["expires_at"], until)
        return Expected("extended", hold)

    def _record(self, command: Record) -> Expected:
        run = None if command.run_id is None else self.runs.get(command.run_id)
        if command.run_id is not None and run is None:
            return Expected("quarantined", {}, code="run_not_found")
        at = command.occurred_at or self.now
        if at < self.now - timedelta(days=35) or at > self.now + timedelta(minutes=5):
            return Expected("quarantined", {}, code="time_out_of_range")
        at = min(at, self.now)
        if command.model:
            self.use_name(command.model)
        facts = self._facts(command, run, command.model)
        event = self._event(command, facts, command.model, at)
        self._say_kind(event, command)
        event |= {"run": command.run_id, "tags": command.tags, "names": self._names(facts, run, at)}
        self.say_repetition(event, command, whole=True)
        event |= {"late": False, "overrun": False, "part": False}
        event["calls"] = 0 if event["repetition"] == "duplicate" or command.event_kind else 1
        event |= {"hold": None, "key": command.key, "source": command.event_source}
        self._book(event, {})
        return Expected("recorded", event)

    def _say_kind(self, event: dict[str, Any], command: Record) -> None:
        """Say in an event what a tool call costs by its caller, and that a cache hit uses nothing but saves a cost."""
        event |= {"kind": command.event_kind, "saved": None}
        if command.cost_nanos is not None:
            event |= {"cost": command.cost_nanos, "unpriced": False, "unknown": False}
        if command.event_kind == "cache_hit":
            own = self.entry_at(command.model, event["at"])
            priced = dict(event["usage"])  # of what was saved nothing is assumed, but for a model without any price
            priced.update((kind, 0) for kind in COUNTED if own is not None and kind not in dict(own.others))
            counted, _ = self.counted_cost(priced, event["at"], own)
            event["saved"] = counted + (self.usage_cost(command.model, priced, event["at"]) or 0)
            nothing = dict.fromkeys(event["usage"], 0)
            event |= {"usage": nothing, "tokens": 0, "uncached": 0, "cost": 0}

    def booked_under(self, event: dict[str, Any], *, whole_hold: bool) -> administration.Reverse:
        """Return the command that takes back an event, or everything that was booked on its hold."""
        hold, key, source, events = None, event["key"], event["source"], [event]
        if whole_hold and event["hold"] is not None:
            hold, source = event["hold"], None
            key = self.holds[hold]["key"]
            events = [each for each in self.events if each.get("hold") == hold and "corrects" not in each]
        found = tuple((each["id"], each["booked_at"]) for each in events)
        return administration.Reverse(key, b"", source, found, "a test", "key:admin", hold)

    def _reverse(self, command: administration.Reverse) -> Expected:
        hold = self.holds.get(command.reservation_id or 0)
        if hold is not None and hold["state"] == "held":
            return Expected("refused", code="reservation_open")
        taken_back = {event["corrects"] for event in self.events if "corrects" in event}
        numbers = {number for number, _ in command.events}
        found = [event for event in self.events if event.get("id") in numbers - taken_back and "corrects" not in event]
        if not found:
            return Expected("refused", code="booking_reversed")
        corrections = {event["id"]: self._correct(event) for event in found}
        return Expected("reversed", {"corrections": corrections})

    def _correct(self, event: dict[str, Any]) -> dict[str, Any]:
        """Book the opposite of an event, on the same accounts."""
        opposite = {name: -event[name] for name in ("cost", "tokens", "uncached", "calls")}
        usage = {kind: -count for kind, count in event["usage"].items()}
        correction = {**event, **opposite, "names": event["on"], "usage": usage, "late": False, "overrun": False}
        correction["corrects"] = event["id"]
        if event.get("saved") is not None:
            correction["saved"] = -event["saved"]
        del correction["id"]
        self.events.append(correction)
        for name in event["on"]:
            account = self.accounts[name]
            amounts = self._amounts(name, correction["tokens"], correction["uncached"], correction["cost"])
            for unit, amount in (amounts | {"calls": correction["calls"]}).items():
                account.settled[unit] += amount
            account.watch()
        return correction

    def _event(self, command: Settle | Record, facts: Facts, model: str, at: datetime) -> dict[str, Any]:
        usage = fitted(command.usage)
        cost = self.usage_cost(model, usage, at)
        counted, has_prices = self.counted_cost(usage, at, self.entry_at(model, at))
        return {
            "facts": facts, "said": command.occurred_at or self.now, "at": at, "usage": usage,
            "cost": (cost or 0) + counted, "unpriced": cost is None or not has_prices, "unknown": cost is None,
            "clamped": usage != kinds_of(command.usage), "tokens": usage["input"] + usage["output"],
            "uncached": usage["input"] + usage["output"] - usage["cache_read"], "failed": command.failed,
        }  # fmt: skip

    def _book(self, event: dict[str, Any], covered_on: dict[Name, dict[str, int]]) -> None:
        event |= {"booked_at": self.now, "on": event["names"]}
        self.events.append(event)
        for name in event["names"]:
            account, covered = self.accounts[name], covered_on.get(name)
            amounts = self._amounts(name, event["tokens"], event["uncached"], event["cost"]) | {"calls": event["calls"]}
            was_held = self._amounts(name, covered["tokens"], covered["uncached"], covered["cost"]) if covered else {}
            was_held |= {"calls": covered["calls"]} if covered else {}
            for unit in UNITS:
                account.settled[unit] += amounts[unit]
                account.excess[unit] += max(0, amounts[unit] - was_held.get(unit, 0))
            account.watch()

    def _give_back(self, hold: dict[str, Any], state: str) -> None:
        hold["state"] = state
        self._move(hold["on"], self._remaining(hold), -1)
        for name in hold["on"]:
            self.accounts[name].leases -= hold["lease"]

    def _served_names(self, hold: dict[str, Any], facts: Facts) -> list[Name]:
        """Return the accounts of the call that was made: those of its hold, but other budgets may select it."""
        if facts == hold["facts"]:
            return list(hold["on"])
        run = self.runs[hold["run"]] if hold["run"] else None
        served = self._names(facts, run, hold["created_at"], made_before=hold["order"])
        selected = {name[:3] for name in served}
        in_use = {budget["id"] for budget in self.budgets if budget["in_use"]}
        places = zip(hold["names"], hold["on"], strict=True)
        stay = [place for n, place in places if n[0] == "run" or n[1] not in in_use or n[:3] in selected]
        held = {name[:3] for name in hold["names"]}
        # An allocation of the run that was made after the hold has nothing of the call: its agent type was admitted
        # without one, whichever model serves it.
        return stay + [name for name in served if name[0] == "budget" and name[:3] not in held]

    # Accounts

    def _facts(self, command: Reserve | Record, run: dict[str, Any] | None, model: str) -> Facts:
        facts = {
            "user": run["user"] if run else command.user or "",
            "cost_center": run["cost_center"] if run else command.cost_center or self._center(command),
            "agent_type": command.agent_type, "request_type": command.request_type,
            "model": self.booked(model) if model else "",
            "provider": command.provider,
        }  # fmt: skip
        if command.tool is not None:
            facts["tool"] = command.tool
        if command.run_id is not None:
            facts["run"] = str(command.run_id)
        return facts | {f"tag.{name}": value for name, value in command.tags}

    def _names(
        self, facts: Facts, run: dict[str, Any] | None, at: datetime | None = None, made_before: int | None = None
    ) -> list[Name]:
        names: list[Name] = []
        for each in self.lineage(run) if run else []:
            names.append(("run", each["id"], None))
            if facts["agent_type"] in each["shares"]:
                names.append(("run", each["id"], facts["agent_type"]))
        for budget in self.budgets:
            command = budget["command"]
            wanted = dict(command.selector)
            if command.window == "run":
                wanted.setdefault("run", "*")
            if not budget["in_use"] or (made_before is not None and budget["order"] > made_before):
                continue
            kept = {d for d, v in wanted.items() if v == "*"} | ({"run"} if command.window == "run" else set())
            if budget["unassigned"] == "per_user" and facts["cost_center"] == "unassigned":
                kept.add("user")
            # A call counts for its run and for every ancestor of the run, once for each.
            for number in [each["id"] for each in self.lineage(run)] if run and "run" in wanted else [None]:
                seen = facts if number is None else facts | {"run": str(number)}
                if not all(seen.get(d) and is_chosen(v, seen[d]) for d, v in wanted.items()):
                    continue
                subject = frozenset((d, seen[d]) for d in kept)
                names.append(self.account_name(budget, subject, at or self.now))
        return names

    def account_name(self, budget: dict[str, Any], subject: Any, at: datetime) -> Name:
        """Return the account of a subject in the window of an instant, made if there is none."""
        start, end = self.calendar.bounds(budget["command"].window, at)
        name = ("budget", budget["id"], subject, start)
        if name not in self.accounts:
            self.accounts[name] = self._fresh(budget, subject, start, end)
        return name

    def _fresh(self, budget: dict[str, Any], subject: Any, start: datetime, end: datetime | None) -> Balance:
        late = end is not None and end <= self.now
        limits, _ = terms_at(budget, end if late and end is not None else self.now + timedelta(days=1), subject)
        fresh = Balance(
            dict(limits), budget["hard"], budget["command"].counts == "uncached", thresholds=budget["thresholds"],
        )  # fmt: skip
        fresh.start, fresh.end = start, end
        earlier = [a for n, a in self.accounts.items() if n[:3] == ("budget", budget["id"], subject) and n[3] < start]
        last = max(earlier, key=lambda account: account.start or self.now, default=None)
        fresh.earns = not late or (last is not None and last.earns)
        if budget["rollover"] is not None and last is not None and last.earns:
            carried = rolled_over(budget, subject, fresh, last, self.calendar)
            self.rolled += any(carried.values())
            fresh.change(carried)
        return fresh

    def _center(self, command: Reserve | Record) -> str:
        at = command.occurred_at if isinstance(command, Record) else None
        known = self.users.get(command.user or "", ())
        found = [center for since, center in known if since is None or since <= (at or self.now)]
        return found[-1] if found else "unassigned"

    def _amounts(self, name: Name, tokens: int, uncached: int, cost: int) -> dict[str, int]:
        return {"tokens": uncached if self.accounts[name].uncached else tokens, "cost": cost, "calls": 1}

    def _move(self, names: list[Name], amounts: dict[str, int], sign: int) -> None:
        for name in names:
            account = self.accounts[name]
            account.held["tokens"] += sign * amounts["uncached" if account.uncached else "tokens"]
            account.held["cost"] += sign * amounts["cost"]
            account.held["calls"] += sign * amounts["calls"]

    def _lease_end(self, names: list[Name], at: datetime) -> datetime:
        ends = [self.accounts[name].end for name in names if self.accounts[name].hard]
        return min([at, *(end for end in ends if end is not None)])
