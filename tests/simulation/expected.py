"""What the ledger must answer."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Expected:
    """A kind of outcome, the thing it is about, what must be true of it."""

    kind: str
    thing: dict[str, Any] | None = None
    code: str | None = None
    replayed: bool = False
