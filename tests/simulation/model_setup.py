"""The model of what administrators do: budgets that change, grants, increases, users, calendar, the stop."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_limits import UNITS, Amounts, Balance, Name, amounts_of, limits_for
from tests.simulation.model_names import NameModel
from token_ledger.core.batch import administration
from token_ledger.core.batch.commands import TendAccounts
from token_ledger.core.model.budget import Limits, Overrides
from token_ledger.core.model.window import Calendar

EARLIEST = datetime.min.replace(tzinfo=UTC)


class SetupModel(NameModel):
    """What one tenant has set up."""

    now: datetime
    calendar: Calendar
    accounts: dict[Name, Balance]
    budgets: list[dict[str, Any]]
    numbered: dict[int, Name]
    """Accounts by the numbers that the core gave them."""
    increases: dict[int, dict[str, Any]]
    users: dict[str, tuple[tuple[datetime | None, str], ...]]
    stopped: str | None
    orders: int = 0

    def cost_center_of(self, user: str) -> str:
        """Return the cost center that a user has now."""
        known = [center for since, center in self.users.get(user, ()) if since is None or since <= self.now]
        return known[-1] if known else "unassigned"

    def _create_budget(self, command: administration.CreateBudget) -> Expected:
        command = self.in_books(command)
        if any(budget["name"] == command.name and budget["in_use"] for budget in self.budgets):
            return Expected("refused", code="budget_exists")
        if self._contradicts_itself(command, command.overrides, command.unassigned):
            return Expected("refused", code="invalid_request")
        if command.rollover is not None and command.window in ("run", "total"):
            return Expected("refused", code="invalid_request")
        budget = {
            "name": command.name, "in_use": True, "command": command, "limits": amounts_of(command.limits),
            "hard": command.enforcement == "hard", "thresholds": command.thresholds, "rollover": command.rollover,
            "created_at": self.now, "order": self.next_order(), "history": [],
            "overrides": command.overrides, "unassigned": command.unassigned,
        }  # fmt: skip
        self.budgets.append(budget)
        self._note_terms(budget)
        return Expected("budget", budget)

    @staticmethod
    def _contradicts_itself(command: administration.CreateBudget, overrides: Overrides, unassigned: str) -> bool:
        """Tell whether overrides are not of subjects of the budget, or it has no cost centers to tell apart."""
        stars = {dimension for dimension, wanted in command.selector if wanted == "*"}
        named = [dict(subject.pairs) for subject, _ in overrides]
        wrong = any(not stars or set(each) != stars for each in named)
        twice = any(named.count(each) > 1 for each in named)
        return wrong or twice or (unassigned == "per_user" and "cost_center" not in stars)

    def _in_use(self, number: int) -> dict[str, Any] | None:
        return next((b for b in self.budgets if b["id"] == number and b["in_use"]), None)

    def _replace_budget(self, command: administration.ReplaceBudget) -> Expected:
        budget = self._in_use(command.replaced_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        budget["in_use"] = False
        expected = self._create_budget(command)
        budget["in_use"] = expected.kind == "refused"
        return expected

    def _archive(self, command: administration.ArchiveBudget) -> Expected:
        budget = self._in_use(command.budget_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        budget["in_use"] = False
        return Expected("budget", budget)

    def _change_budget(self, command: administration.ChangeBudget) -> Expected:
        budget = self._in_use(command.budget_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        overrides = budget["overrides"]
        if command.overrides is not None:
            overrides = self.overrides_in_books(budget["command"].selector, command.overrides)
        unassigned = command.unassigned or budget["unassigned"]
        limits = _changed(budget["limits"], command.limits, command.removed_limits)
        caps = amounts_of(budget["rollover"]) if budget["rollover"] else dict.fromkeys(UNITS)
        caps = _changed(caps, command.rollover, command.removed_rollover)
        rollover = Limits(*caps.values()) if set(caps.values()) != {None} else None
        if set(limits.values()) == {None} or self._contradicts_itself(budget["command"], overrides, unassigned):
            return Expected("refused", code="invalid_request")
        if rollover is not None and budget["command"].window in ("run", "total"):
            return Expected("refused", code="invalid_request")
        budget |= {"rollover": rollover, "limits": limits, "overrides": overrides, "unassigned": unassigned}
        if command.enforcement is not None:
            budget["hard"] = command.enforcement == "hard"
            budget["enforcement"] = command.enforcement
        if command.thresholds is not None:
            budget["thresholds"] = command.thresholds
        self._note_terms(budget)
        self.take_terms(budget)
        return Expected("budget", budget)

    def _note_terms(self, budget: dict[str, Any]) -> None:
        cap = dict.fromkeys(UNITS) if budget["rollover"] is None else amounts_of(budget["rollover"])
        budget["history"].append((self.now, dict(budget["limits"]), cap, budget["overrides"]))

    def next_order(self) -> int:
        """Return the place of what is made now."""
        self.orders += 1
        return self.orders

    def take_terms(self, budget: dict[str, Any]) -> None:
        """Let the open accounts of a budget take over its terms."""
        for name, account in self.accounts.items():
            if name[:2] != ("budget", budget["id"]) or not account.is_open(self.now):
                continue
            account.take_over(limits_for(name[2], budget["limits"], budget["overrides"]))
            account.thresholds = budget["thresholds"]
            account.watch()
            account.shrunk = account.shrunk or account.hard != budget["hard"]
            account.hard = budget["hard"]

    def _account(self, number: int, amounts: Amounts) -> Balance | Expected:
        name = self.numbered.get(number)
        if name is None:
            return Expected("refused", code="account_not_found")
        account = self.accounts[name]
        if not account.is_open(self.now):
            return Expected("refused", code="account_closed")
        if any(amount is not None and account.limit[unit] is None for unit, amount in amounts.items()):
            return Expected("refused", code="no_limit")
        return account

    def _grant(self, account: Balance, amounts: Amounts, until: datetime | None) -> dict[str, Any]:
        ends = [end for end in (until, account.end) if end is not None]
        grant: dict[str, Any] = {"amounts": amounts, "left": dict(amounts), "until": min(ends, default=None)}
        grant["number"] = self.grants_given = getattr(self, "grants_given", 0) + 1
        account.give(grant)
        return grant

    def _give_grant(self, command: administration.GiveGrant) -> Expected:
        amounts = amounts_of(command.amounts)
        account = self._account(command.account_id or 0, amounts)
        if isinstance(account, Expected):
            return account
        if command.expires_at is not None and command.expires_at <= self.now:
            return Expected("refused", code="time_out_of_range")
        return Expected("grant", self._grant(account, amounts, command.expires_at))

    def _ask(self, command: administration.AskIncrease) -> Expected:
        amounts = amounts_of(command.amounts)
        account = self._account(command.account_id or 0, amounts)
        if isinstance(account, Expected):
            return account
        return Expected("increase", {"state": "asked", "amounts": amounts, "account": command.account_id})

    def _decide_increase(self, command: administration.DecideIncrease) -> Expected:
        asked = self.increases.get(command.increase_id)
        if asked is None:
            return Expected("refused", code="increase_not_found")
        if asked["state"] != "asked":
            return Expected("refused", code="increase_decided")
        if command.approve:
            account = self._account(asked["account"], asked["amounts"])
            if isinstance(account, Expected):
                return account
            if command.expires_at is None:
                account.change(asked["amounts"])
            elif command.expires_at <= self.now:
                return Expected("refused", code="time_out_of_range")
            else:
                self._grant(account, dict(asked["amounts"]), command.expires_at)
        asked["state"] = "approved" if command.approve else "refused"
        return Expected("increase", asked)

    def _set_users(self, command: administration.SetUsers) -> Expected:
        for user in command.users:
            known = self.users.get(user.user, ())
            starts = [since or EARLIEST for since, _ in user.cost_centers]
            before = [each for each in known if not starts or (each[0] or EARLIEST) < starts[0]]
            self.users[user.user] = (*before, *user.cost_centers)
        return Expected("changed", {})

    def _set_calendar(self, command: administration.SetCalendar) -> Expected:
        earliest = self.now + timedelta(minutes=5)
        at = command.effective_from or earliest
        if at < earliest or at > self.now + timedelta(days=731):
            return Expected("refused", code="time_out_of_range")
        # Changes planned for later are replaced too.
        changes = [change for change in self.calendar.changes if change[0] < at]
        self.calendar = Calendar(self.calendar.first, (*changes, (at, command.rule)))
        return Expected("changed", {})

    def _stop(self, command: administration.StopTenant) -> Expected:
        self.stopped = command.reason
        return Expected("stop", {})

    def _tend(self, command: TendAccounts) -> Expected:
        for number in command.account_ids:
            account = self.accounts.get(self.numbered.get(number, ()))
            if account is None or account.is_open(self.now):
                continue
            if not any(account.held.values()) and not account.leases:
                account.closed = True
        return Expected("swept")


def _changed(before: Amounts, given: Any, removed: Iterable[str]) -> Amounts:
    """Return limits of which some were given anew and some removed."""
    new = amounts_of(given) if given is not None else dict.fromkeys(UNITS)
    changed = {unit: before[unit] if new[unit] is None else new[unit] for unit in UNITS}
    return changed | dict.fromkeys(removed)
