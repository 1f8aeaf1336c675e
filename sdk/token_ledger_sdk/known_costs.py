"""What calls cost at most, as far as this process has been told: for calls that nobody can be asked about.

A lease tells the rates of its model, and a hold what a call of its size costs at most. Prices change: rates that a
later hold contradicts count no more, and of holds the newest counts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .wire.amounts import to_nanos
from .wire.calls import Call
from .wire.reservations import Reservation

if TYPE_CHECKING:
    from .wire.leases import LeasePrice

_MOST_MODELS = 500
_MOST_SIZES = 8

_Kind: TypeAlias = tuple[str, str, str | None, str | None]


class _Held(NamedTuple):
    """What was held for a call that takes so much at most; `others` are the kinds that it announced besides tokens."""

    input_tokens: int
    max_output_tokens: int
    uncached_tokens: int
    others: dict[str, int]
    cost_nanos: int

    def covers(self, call: _Held) -> bool:
        """Whether another call can't cost more than this one, whatever the rates are."""
        return (
            call.input_tokens <= self.input_tokens
            and call.max_output_tokens <= self.max_output_tokens
            and call.uncached_tokens <= self.uncached_tokens
            and all(count <= self.others.get(kind, 0) for kind, count in call.others.items())
        )


class KnownCosts:
    """What is known of the costs of models, by provider, name, service tier and kind of cache; the newest counts."""

    def __init__(self) -> None:
        self._rates: OrderedDict[_Kind, LeasePrice] = OrderedDict()
        self._held: OrderedDict[_Kind, tuple[_Held, ...]] = OrderedDict()

    def note_hold(self, call: Call, reservation: Reservation) -> None:
        """Note what a call costs at most, unless it is one of another model than was asked for."""
        cost = reservation.held.cost
        if cost is None or (reservation.provider, reservation.model) != (call["provider"], call["model"]):
            return
        limit = reservation.directive.max_output_tokens
        held = _size(call, call["max_output_tokens"] if limit is None else limit, to_nanos(cost))
        kind = _kind(call)
        known = [each for each in self._held.get(kind, ()) if not held.covers(each)]
        _note(self._held, kind, (*known[-_MOST_SIZES + 1 :], held))
        if not held.others and self._by_rates({**call, "max_output_tokens": held.max_output_tokens}) != held.cost_nanos:
            self._rates.pop(kind, None)

    def note_rates(self, call: Call, provider: str, model: str, price: LeasePrice | None) -> None:
        """Note the rates of a lease, unless they are of another model, or have fees of announced kinds in them."""
        if price is not None and not call.get("max_usage") and (provider, model) == (call["provider"], call["model"]):
            _note(self._rates, _kind(call), price)

    def most_nanos(self, call: Call) -> int | None:
        """Return the most that a call costs, in nano-dollars; None if that is not known here."""
        asked = _size(call, call["max_output_tokens"], 0)
        by_rates = None if asked.others else self._by_rates(call)
        if by_rates is not None:
            return by_rates
        return next((held.cost_nanos for held in reversed(self._held.get(_kind(call), ())) if held.covers(asked)), None)

    def _by_rates(self, call: Call) -> int | None:
        """Return what a call of tokens costs at most by the rates of a lease, in nano-dollars."""
        price = self._rates.get(_kind(call))
        if price is None:
            return None
        from .leases.sizes import hold_cost
        from .leases.terms import size_of

        return to_nanos(hold_cost(price, size_of(call), call.get("cache_write")))


def _kind(call: Call) -> _Kind:
    return call["provider"], call["model"], call.get("service_tier"), call.get("cache_write")


def _size(call: Call, max_output_tokens: int, cost_nanos: int) -> _Held:
    uncached = call["input_tokens"] - call.get("cached_input_tokens", 0)
    return _Held(call["input_tokens"], max_output_tokens, uncached, dict(call.get("max_usage") or {}), cost_nanos)


def _note(known: OrderedDict[_Kind, Any], kind: _Kind, told: object) -> None:
    known[kind] = told
    known.move_to_end(kind)
    if len(known) > _MOST_MODELS:
        known.popitem(last=False)
