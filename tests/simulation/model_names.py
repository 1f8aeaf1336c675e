"""The model of names: what models are called in the books, and what goes along when that changes.

All prices are of one provider, so a model is its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from tests.simulation.expected import Expected
from tests.simulation.model_limits import UNITS, Balance, Name
from token_ledger.core.batch import administration
from token_ledger.core.model.budget import Overrides
from token_ledger.core.model.selector import Selector
from token_ledger.core.model.subject import Subject

Created = TypeVar("Created", bound=administration.CreateBudget)


class NameModel(ABC):
    """Names of models of one tenant: what each that was used is in the books, and which of these were decided on."""

    now: datetime
    accounts: dict[Name, Balance]
    budgets: list[dict[str, Any]]
    runs: dict[int, dict[str, Any]]
    holds: dict[int, dict[str, Any]]
    events: list[dict[str, Any]]
    spellings: dict[str, str]
    renamed: dict[str, str]
    carried: int = 0

    def booked(self, model: str) -> str:
        """Return what a model is called in the books."""
        return self.spellings.get(model, model)

    def use_name(self, model: str) -> str:
        """Return the same; a name that is used keeps its meaning."""
        return self.spellings.setdefault(model, model)

    def in_books(self, command: Created) -> Created:
        """Return a budget with the names of the books in its selector and its overrides."""
        wanted = dict(command.selector)
        if "model" in wanted:
            given = wanted["model"]
            names = sorted({self._selected(each, wanted) for each in ([given] if isinstance(given, str) else given)})
            wanted["model"] = names[0] if len(names) == 1 else tuple(names)
        selector = tuple(wanted.items())
        return replace(
            command, selector=selector, overrides=self.overrides_in_books(command.selector, command.overrides)
        )

    def overrides_in_books(self, selector: Selector, overrides: Overrides) -> Overrides:
        """Return overrides with the names of the books in their subjects."""
        found = []
        for subject, limits in overrides:
            values = dict(subject.pairs)
            if "model" in values:
                values["model"] = self._selected(values["model"], {**dict(selector), **values})
            found.append((Subject(values), limits))
        return tuple(found)

    def _selected(self, model: str, wanted: Mapping[str, Any]) -> str:
        """Return what a selector's model is in the books; where it names no provider, a name in the books is itself."""
        provider = wanted.get("provider", "*")
        if model.endswith("*") or (isinstance(provider, str) and not provider.endswith("*")):
            return model if model.endswith("*") else self.booked(model)
        return model if model in self.spellings.values() else self.renamed.get(model, model)

    def _rename(self, command: administration.RenameModel) -> Expected:
        asked, becomes = command.asked.model, command.becomes.model
        old = self.booked(asked)
        # A name that leads to the old one today can become its name.
        new = becomes if self.booked(becomes) == old else self.booked(becomes)
        if new == old:
            return Expected("refused", code="invalid_request")
        leading = [name for name, booked in self.spellings.items() if booked == old]
        alone = asked != old and leading != [asked]
        moving = [asked] if alone else [*leading, asked, old]
        if not alone:
            in_use = [budget for budget in self.budgets if budget["in_use"]]
            if any(self._misses(budget, old, new) for budget in in_use):
                return Expected("refused", code="invalid_request")
        for names in (self.spellings, self.renamed):
            names.update(dict.fromkeys(moving, new))
        for budget in () if alone else in_use:
            if dict(budget["command"].selector).get("model") == "*":
                self._carry(budget, old, new)
        return Expected("changed", {})

    @staticmethod
    def _misses(budget: dict[str, Any], old: str, new: str) -> bool:
        """Tell whether a budget would lose calls, or a limit of its own, with the old name."""
        wanted = dict(budget["command"].selector).get("model", "*")
        if not is_chosen(wanted, old):
            return False
        return not is_chosen(wanted, new) or any(subject.get("model") == old for subject, _ in budget["overrides"])

    def _carry(self, budget: dict[str, Any], old: str, new: str) -> None:
        """Move what is on the accounts of the old name, in windows under way and runs that go on."""
        mine = [name for name in self.accounts if name[:2] == ("budget", budget["id"])]
        for name in mine:
            account, subject = self.accounts[name], dict(name[2])
            run = subject.get("run")
            if subject.get("model") != old or not account.is_open(self.now):
                continue
            if run is not None and self.runs[int(run)]["state"] != "open":
                continue
            becomes = frozenset({**subject, "model": new}.items())
            self._move_all(name, self.account_name(budget, becomes, self.now))
            self.carried += 1

    @abstractmethod
    def account_name(self, budget: dict[str, Any], subject: Any, at: datetime) -> Name:
        """Return the account of a subject in the window of an instant, made if there is none."""

    def _move_all(self, name: Name, becomes: Name) -> None:
        account, other = self.accounts[name], self.accounts[becomes]
        for unit in UNITS:
            other.settled[unit] += account.settled[unit]
            other.held[unit] += account.held[unit]
            account.settled[unit] = account.held[unit] = 0
        other.leases, account.leases = other.leases + account.leases, 0
        other.shrunk = True
        for each in (account, other):
            each.watch()
        for booked in (*self.holds.values(), *self.events):
            booked["on"] = [becomes if place == name else place for place in booked["on"]]


def is_chosen(wanted: str | tuple[str, ...], value: str) -> bool:
    """Tell whether a value is the one named, one of those named, or begins as the prefix says; `*` is the empty one."""
    if not isinstance(wanted, str):
        return value in wanted
    return value[: len(wanted) - 1] == wanted[:-1] if wanted[-1] == "*" else value == wanted
