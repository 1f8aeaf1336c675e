"""The block of a run, a hold or leases: whatever leaves it, what it owns is ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from ..waiting_async import shielded_async


class AsyncBlock(ABC):
    """A context manager that ends what it owns even while its task is being canceled."""

    @abstractmethod
    async def _leave(self, error: BaseException | None) -> None:
        """End what the block owns; `error` is the exception that leaves the block."""

    @abstractmethod
    def _failure(self) -> str:
        """Name what could not be done when `_leave` has failed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        async def end() -> None:
            await self._leave(error)

        try:
            await shielded_async(end)
        except Exception as failure:
            if error is None:
                raise
            # The exception that leaves the block matters more to the caller; what is left open expires by itself.
            error.add_note(f"Token Ledger could not {self._failure()}: {failure}")
