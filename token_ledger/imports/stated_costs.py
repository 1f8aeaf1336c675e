"""Owns what the rows of an export say that they cost: for comparison only, since the ledger prices calls itself."""

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(slots=True)
class StatedCosts:
    """Sums of dollars by day (UTC) and model, as the file names it, and how many cells were no amount."""

    by_day_and_model: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    unread: int = 0

    def add(self, day: str, model: str, dollars: Decimal | None) -> None:
        """Add what one row says; None where it says something that is no amount."""
        if dollars is None or not dollars.is_finite():
            self.unread += 1
            return
        key = day, model
        self.by_day_and_model[key] = self.by_day_and_model.get(key, Decimal(0)) + dollars

    @property
    def total(self) -> Decimal:
        """Return the sum of all."""
        return sum(self.by_day_and_model.values(), Decimal(0))
