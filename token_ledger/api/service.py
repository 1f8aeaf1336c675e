"""Gives routes the process's service: its ledger to decide commands, its database to read."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from starlette.requests import Request

from token_ledger.core.batch.commands import Command
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.turns import PIECES_OF_A_LIST
from token_ledger.runtime import Service
from token_ledger.storage.database import Connection
from token_ledger.wire.problems import Expected, expect

PARTS_OF_A_TURN: Final = 8
"""How many operations of a list begin in one turn; each takes about a tenth of a millisecond."""
T = TypeVar("T")


def service_of(request: Request) -> Service:
    """Return the process's service."""
    service: Service = request.app.state.service
    return service


async def in_pieces(
    service: Service, tenant: TenantId, parts: Iterable[tuple[int, Coroutine[Any, Any, T]]]
) -> list[T]:  # fmt: skip
    """Return what the parts of a list come to, in order; a few begin in each turn of the tenant.

    Each comes with how many operations it counts for.
    """
    begun, operations = [], 0
    try:
        for counts_for, part in parts:
            begun.append(asyncio.create_task(part))
            operations += counts_for
            if operations >= PARTS_OF_A_TURN:
                operations = 0
                await service.turns.take(tenant, PIECES_OF_A_LIST)
        return await asyncio.gather(*begun)
    except BaseException:
        for task in begun:
            task.cancel()
        raise


def reading(
    request: Request, *tenants: TenantId, snapshot: bool = False
) -> AbstractAsyncContextManager[Connection]:  # fmt: skip
    """Return a transaction that sees the rows of these tenants; all its statements the same state, if a `snapshot`."""
    return service_of(request).database.reading(*tenants, snapshot=snapshot)


def changing(request: Request, *tenants: TenantId) -> AbstractAsyncContextManager[Connection]:
    """Return a transaction that sees the rows of these tenants, to change something in."""
    return service_of(request).database.changing(*tenants)


async def decide(request: Request, tenant: TenantId, kind: type[Expected], command: Command) -> Expected:
    """Have a command decided and return its outcome; raise the problem if it is another than the kind expected."""
    return expect(kind, await service_of(request).submit(tenant, command))
