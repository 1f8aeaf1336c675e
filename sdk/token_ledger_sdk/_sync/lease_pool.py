# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""The leases that guarded calls draw from: one after the other for each kind of call."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from ..unavailable import OnUnavailable
from ..wire.calls import Call, Scope
from .hold import Hold
from .sender import Sender

if TYPE_CHECKING:
    from .leased_call import LeasedCall
    from .leases import Leases

_MOST_KINDS = 256
"""How many kinds of calls have leases at once; beyond, those of the kind that came first are given back."""
_LONGEST_CALL_SECONDS = 120.0


class LeasePool:
    """Leases for calls of the same owner, agent type and model, made when the first such call comes."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._leases: dict[Hashable, tuple[Scope, Leases]] = {}

    def reserve(
        self, call: Call, scope: Scope, calls: int, on_unavailable: OnUnavailable | None = None
    ) -> LeasedCall | Hold:
        """Admit a call from a lease for so many calls of its kind and size; raises what a reserve raises."""
        kind = _kind_of(call, scope, calls)
        found = self._leases.get(kind)
        if found is None:
            from ..leases.terms import Terms
            from .leases import Leases

            terms = Terms(call, calls=calls, longest_call_seconds=_LONGEST_CALL_SECONDS, flush_seconds=1.0)
            found = self._leases.setdefault(kind, (scope, Leases(self._sender, terms, scope)))
            if len(self._leases) > _MOST_KINDS:
                self._close_first()
        return found[1].reserve(
            input_tokens=call["input_tokens"],
            max_output_tokens=call["max_output_tokens"],
            max_usage=call.get("max_usage"),
            service_tier=call.get("service_tier"),
            on_unavailable=on_unavailable,
        )

    def close(self, run_id: str | None = None) -> None:
        """Book what calls have used and give back the rest: of all leases, or of those of a run.

        Raises what `AsyncLeases.close` raises, of the last that could not be closed.
        """
        failure: Exception | None = None
        for kind, (scope, leases) in [*self._leases.items()]:
            if run_id is not None and scope.run_id != run_id:
                continue
            self._leases.pop(kind, None)
            try:
                leases.close()
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure

    def _close_first(self) -> None:
        _, (_, leases) = next(iter(self._leases.items()))
        self._leases.pop(next(iter(self._leases)))
        leases.close()


def _kind_of(call: Call, scope: Scope, calls: int) -> Hashable:
    """Return what calls must have in common to draw from the same lease."""
    sizes = ("input_tokens", "max_output_tokens", "max_usage", "idempotency_key")
    said = sorted((name, _hashable(value)) for name, value in call.items() if name not in sizes)
    return scope, calls, tuple(said)


def _hashable(value: object) -> Hashable:
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list | tuple) else value
