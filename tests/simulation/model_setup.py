"""What the model knows of administrators: budgets that change, grants, increases, users, calendar, the stop."""

from datetime import datetime, timedelta
from typing import Any

from tests.simulation.expected import Expected
from tests.simulation.model_limits import UNITS, Amounts, Balance, Name, amounts_of
from token_ledger.core.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    CreateBudget,
    DecideIncrease,
    GiveGrant,
    ReplaceBudget,
    SetCalendar,
    SetUsers,
    StopTenant,
)
from token_ledger.core.commands import TendAccounts
from token_ledger.core.window import Calendar


class SetupModel:
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

    def cost_center_of(self, user: str) -> str:
        """Return the cost center that a user has now."""
        known = [center for since, center in self.users.get(user, ()) if since is None or since <= self.now]
        return known[-1] if known else "unassigned"

    def _create_budget(self, command: CreateBudget) -> Expected:
        if any(budget["name"] == command.name and budget["in_use"] for budget in self.budgets):
            return Expected("refused", code="budget_exists")
        if command.rollover is not None and command.window in ("run", "total"):
            return Expected("refused", code="invalid_request")
        budget = {
            "name": command.name, "in_use": True, "command": command, "limits": amounts_of(command.limits),
            "hard": command.enforcement == "hard", "thresholds": command.thresholds, "rollover": command.rollover,
            "created_at": self.now,
        }  # fmt: skip
        self.budgets.append(budget)
        return Expected("budget", budget)

    def _in_use(self, number: int) -> dict[str, Any] | None:
        return next((b for b in self.budgets if b["id"] == number and b["in_use"]), None)

    def _replace_budget(self, command: ReplaceBudget) -> Expected:
        budget = self._in_use(command.replaced_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        budget["in_use"] = False
        expected = self._create_budget(command)
        budget["in_use"] = expected.kind == "refused"
        return expected

    def _archive(self, command: ArchiveBudget) -> Expected:
        budget = self._in_use(command.budget_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        budget["in_use"] = False
        return Expected("budget", budget)

    def _change_budget(self, command: ChangeBudget) -> Expected:
        budget = self._in_use(command.budget_id)
        if budget is None:
            return Expected("refused", code="budget_not_found")
        rollover = budget["rollover"] if command.rollover is None else command.rollover
        if rollover is not None and budget["command"].window in ("run", "total"):
            return Expected("refused", code="invalid_request")
        budget["rollover"] = rollover
        for unit, amount in amounts_of(command.limits).items() if command.limits else ():
            if amount is not None:
                budget["limits"][unit] = amount
        if command.enforcement is not None:
            budget["hard"] = command.enforcement == "hard"
            budget["enforcement"] = command.enforcement
        if command.thresholds is not None:
            budget["thresholds"] = command.thresholds
        self.take_terms(budget)
        return Expected("budget", budget)

    def take_terms(self, budget: dict[str, Any]) -> None:
        """Let the open accounts of a budget follow it."""
        for name, account in self.accounts.items():
            if name[:2] != ("budget", budget["id"]) or not account.is_open(self.now):
                continue
            change: Amounts = {}
            for unit in UNITS:
                wanted, before = budget["limits"][unit], account.base[unit]
                change[unit] = None if wanted is None else wanted - (before or 0)
            if account.base != budget["limits"]:
                account.base = dict(budget["limits"])
                account.change(change)
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

    def _give_grant(self, command: GiveGrant) -> Expected:
        amounts = amounts_of(command.amounts)
        account = self._account(command.account_id, amounts)
        if isinstance(account, Expected):
            return account
        if command.expires_at is not None and command.expires_at <= self.now:
            return Expected("refused", code="time_out_of_range")
        return Expected("grant", self._grant(account, amounts, command.expires_at))

    def _ask(self, command: AskIncrease) -> Expected:
        amounts = amounts_of(command.amounts)
        account = self._account(command.account_id, amounts)
        if isinstance(account, Expected):
            return account
        return Expected("increase", {"state": "asked", "amounts": amounts, "account": command.account_id})

    def _decide_increase(self, command: DecideIncrease) -> Expected:
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

    def _set_users(self, command: SetUsers) -> Expected:
        self.users.update((user.user, user.cost_centers) for user in command.users)
        return Expected("changed", {})

    def _set_calendar(self, command: SetCalendar) -> Expected:
        earliest = self.now + timedelta(minutes=5)
        at = command.effective_from or earliest
        if at < earliest or at > self.now + timedelta(days=731):
            return Expected("refused", code="time_out_of_range")
        # What is planned for later falls with what it was to follow.
        changes = [change for change in self.calendar.changes if change[0] < at]
        self.calendar = Calendar(self.calendar.first, (*changes, (at, command.rule)))
        return Expected("changed", {})

    def _stop(self, command: StopTenant) -> Expected:
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
