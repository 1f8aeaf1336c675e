"""What the service tells an agent about a call: directives, their evidence, and refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from .fields import Fields


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a trigger fired: the account that is `percent` percent used."""

    budget: str
    subject: dict[str, str]
    unit: str
    used: int | Decimal | None
    limit: int | Decimal | None
    percent: int | Decimal | None

    @classmethod
    def parse(cls, fields: Fields) -> Evidence:
        return cls(
            budget=fields.text("budget"),
            subject=fields.texts("subject"),
            unit=fields.text("unit"),
            used=fields.quantity("used"),
            limit=fields.quantity("limit"),
            percent=fields.quantity("percent"),
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """A technique that would save, and whether it was `applied` to this call."""

    trigger: str
    technique: str
    applied: bool
    model: str | None
    evidence: Evidence | None

    @classmethod
    def parse(cls, fields: Fields) -> Advice:
        evidence = fields.optional_child("evidence")
        return cls(
            trigger=fields.text("trigger"),
            technique=fields.text("technique"),
            applied=fields.flag("applied"),
            model=fields.optional_text("model"),
            evidence=None if evidence is None else Evidence.parse(evidence),
        )


@dataclass(frozen=True, slots=True)
class Directive:
    """How to make the call: which model, at most how many output tokens, how compressed; or to stop."""

    model: str | None = None
    max_output_tokens: int | None = None
    compression: str = "none"
    stop: bool = False
    advice: tuple[Advice, ...] = ()

    @classmethod
    def parse(cls, fields: Fields | None) -> Directive:
        if fields is None:
            return cls()
        return cls(
            model=fields.optional_text("model"),
            max_output_tokens=fields.optional_integer("max_output_tokens"),
            compression=fields.optional_text("compression") or "none",
            stop=fields.flag("stop"),
            advice=tuple(Advice.parse(item) for item in fields.children("advice")),
        )


@dataclass(frozen=True, slots=True)
class Fits:
    """What would be granted instead: the same input with at most this many output tokens."""

    max_output_tokens: int | None

    @classmethod
    def parse(cls, fields: Fields | None) -> Fits | None:
        return None if fields is None else cls(fields.optional_integer("max_output_tokens"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One account without room for the call; amounts are in `unit` (money as Decimal US dollars)."""

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

    @classmethod
    def parse(cls, fields: Fields) -> Refusal:
        return cls(
            account_id=fields.optional_text("account_id"),
            budget=fields.text("budget"),
            enforcement=fields.text("enforcement"),
            unit=fields.text("unit"),
            available=fields.quantity("available"),
            requested=fields.quantity("requested"),
            limit=fields.quantity("limit"),
            settled=fields.quantity("settled"),
            held=fields.quantity("held"),
            subject=fields.texts("subject"),
            window_start=fields.optional_time("window_start"),
            window_end=fields.optional_time("window_end"),
        )
