"""What the service tells an agent about a call: directives, the evidence for them, and refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a trigger fired: the account that is `percent` percent used. Amounts are in `unit` (cost: US dollars)."""

    budget: str
    subject: dict[str, str]
    unit: str
    used: int | Decimal | None
    limit: int | Decimal | None
    percent: int | Decimal | None


@dataclass(frozen=True, slots=True)
class Advice:
    """A technique that would save tokens or cost, and whether it was `applied` to this call."""

    trigger: str
    technique: str
    applied: bool
    model: str | None
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Directive:
    """How to make the call: the model, the most output tokens, the compression; or, with `stop`, not to make it."""

    model: str | None = None
    max_output_tokens: int | None = None
    compression: str = "none"
    stop: bool = False
    advice: tuple[Advice, ...] = ()


NO_DIRECTIVE = Directive()


@dataclass(frozen=True, slots=True)
class Fits:
    """What would be granted instead: the same request with this `max_output_tokens`, and with no larger one."""

    max_output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One account without room for the call. Amounts are in `unit` (cost: US dollars as Decimal)."""

    account_id: str | None
    budget: str
    enforcement: str
    unit: str
    available: int | Decimal | None
    requested: int | Decimal | None
    limit: int | Decimal | None = None
    settled: int | Decimal | None = None
    held: int | Decimal | None = None
    subject: dict[str, str] = field(default_factory=dict)
    window_start: datetime | None = None
    window_end: datetime | None = None

    def __str__(self) -> str:
        subject = ", ".join(f"{name}={value}" for name, value in self.subject.items())
        whose = f" of {subject}" if subject else ""
        return f"budget {self.budget!r}{whose} has {self.available} {self.unit} available, {self.requested} requested"
