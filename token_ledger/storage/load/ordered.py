"""Owns the commands of a batch as loaders look for them: in order, by kind, and the calls that they are about."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from token_ledger.core.batch.commands import Command, Lease, Preflight, Record, Reserve
from token_ledger.core.model.tenant import TenantId

Kind = TypeVar("Kind")


class Ordered:
    """The commands of a batch with their tenants, in order.

    They are sorted by kind once, because every loader wants a few kinds, and nearly all commands are of two others.
    """

    def __init__(self, commands: Iterable[tuple[TenantId, Command]]) -> None:
        self.all = list(commands)
        self._by_kind: dict[type[Any], list[tuple[TenantId, Any]]] = {}
        for each in self.all:
            self._by_kind.setdefault(type(each[1]), []).append(each)
        self.calls: list[tuple[TenantId, Reserve | Record]] = [
            *self.of(Reserve), *self.of(Lease), *self.of(Record),
            *((tenant, call) for tenant, plan in self.of(Preflight) for call, _ in plan.calls),
        ]  # fmt: skip
        """The calls that commands ask for, report or plan; those that settles are about are known by their holds."""

    def of(self, kind: type[Kind]) -> list[tuple[TenantId, Kind]]:
        """Return the commands of exactly this kind."""
        return self._by_kind.get(kind, [])

    def with_field(self, name: str) -> Iterator[tuple[TenantId, Any]]:
        """Yield the commands of all kinds that have a field."""
        for kind, commands in self._by_kind.items():
            if hasattr(kind, name):
                yield from commands
