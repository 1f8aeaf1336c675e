"""What stands in the place of a part of a client that is not guarded."""

from __future__ import annotations

from typing import NoReturn


class Withheld:
    """Says, whatever is asked of it, which of the ledger's clients would guard it."""

    def __init__(self, guarded: str) -> None:
        self._guarded = guarded

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # those who look whether it can be copied, or awaited, ask for these
            raise AttributeError(name)
        is_async = self._guarded.startswith("Async")
        side, other = ("synchronous", "TokenLedger") if is_async else ("asynchronous", "AsyncTokenLedger")
        raise TypeError(f"{name} is not guarded here: for {side} calls, wrap the client with the ledger's {other}")
