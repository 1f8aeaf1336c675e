"""What the ledger must answer."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Expected:
    """The kind of an outcome, and what it is about."""

    kind: str
    thing: dict[str, Any] | None = None
    code: str | None = None
    replayed: bool = False
