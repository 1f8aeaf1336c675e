"""Runs one batch as one transaction: lock, load, decide, write, commit.

A batch of one tenant may be decided ahead, while its predecessor is being written: on rows loaded without the lock,
with the predecessor's decisions laid over them, at an instant of the database's clock. It then waits for the lock. Its
decisions stand only if the predecessor was committed, and the sequence number and the set-up are the assumed ones;
otherwise the batch is decided again under the lock. (The number alone proves nothing: if the predecessor fails, another
batch gets its number.)

A batch that is refused because of its data is run again in parts, each behind a savepoint. What is at fault is left
out; if it reports spend, it is kept in quarantine.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command, KeepUnbooked, Report
from token_ledger.core.batch.loaded import RowMissing
from token_ledger.core.batch.outcomes import Outcome, Quarantined
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.price_terms import book_with
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable, Unstorable
from token_ledger.storage.clocks import ClockDoubted, ClockWatch
from token_ledger.storage.database import see_tenants
from token_ledger.storage.failures import ABOUT_DATA, Failure, failure_of
from token_ledger.storage.load.batch import load
from token_ledger.storage.load.kept_accounts import KeptAccounts, Known
from token_ledger.storage.load.locks import Locked, lock_at, lock_tenants, read_clock
from token_ledger.storage.load.model_names import RecentNames
from token_ledger.storage.load.recent_holds import RecentHolds
from token_ledger.storage.load.setup import load_configs
from token_ledger.storage.prices import load_newer_book
from token_ledger.storage.write.batch import plan_writes, send
from token_ledger.storage.write.statements import Decided

BATCHES_NOT_AHEAD = 32
"""How many batches of a tenant are not decided ahead once another process was found working for the same tenant."""

log = logging.getLogger(__name__)

MOST_REFUSED_PARTS = 32
"""How many parts of a batch are tried in vain before the rest of it is left for later batches: others wait meanwhile.
Three commands at fault are found among 256."""

Commands = Mapping[TenantId, Sequence[Command]]

Entry = tuple[TenantId, int]
"""A command of a batch: its tenant, and its place among the tenant's commands."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A batch of one tenant that is decided and being written; `committed` becomes false if it fails in any way.

    `known` is what the batch leaves to the next one, which takes it out if it is decided before the batch is committed.
    """

    books: Books
    known: dict[TenantId, Known]
    committed: asyncio.Future[bool]


OnDecided = Callable[[TenantId, Predecessor], None]
"""Called when a tenant's batch is decided and its writes are planned: the next batch may be decided on top of it."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a batch did: outcomes in the order of the commands, names of tenants, and those whose lock was taken.

    A command that failed alone has its error in place of an outcome, and one that was left for a later batch None.
    """

    outcomes: Mapping[TenantId, Sequence[Outcome | Exception | None]]
    decided: list[Decided]
    names: dict[TenantId, str]
    skipped: list[TenantId]


class _Plan:
    """The decisions of a batch, with the statements that write them."""

    def __init__(self, books: Sequence[Books], known: dict[TenantId, Known], commands: Commands) -> None:
        self.books = books
        self.known = known
        self.outcomes = {each.config.tenant_id: decide(each, commands[each.config.tenant_id]) for each in books}
        self.changes: list[Decided] = [(each.config.tenant_id, each.now, each.writes) for each in books]
        totals = [(each.loaded.booked_tokens, each.loaded.booked_nanos) for each in books]
        self.writes = plan_writes(self.changes, totals)
        for each in books:
            known[each.config.tenant_id].add(each)


class _Parts:
    """Runs a batch in parts: one that is refused is halved until the command at fault is alone.

    After `MOST_REFUSED_PARTS` the rest is left, and has no result.
    """

    def __init__(
        self, connection: Any, commands: Commands, run: Callable[[Any, Commands], Awaitable[_Plan | Exception]]
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._run = run
        self._refused = 0
        self.results: dict[Entry, Outcome | Exception] = {}
        self.decided: list[Decided] = []
        self.names: dict[TenantId, str] = {}

    async def run(self, part: Sequence[Entry], *, bad: bool) -> bool:
        """Run a part and tell whether all of it was stored; `bad` says that it is known not to be."""
        if not part:
            return True
        if bad and len(part) > 1:
            middle = len(part) // 2
            stored = await self.run(part[:middle], bad=False)
            await self.run(part[middle:], bad=stored)  # where one half is good, the other can't be
            return False
        if self._refused >= MOST_REFUSED_PARTS:
            return False
        chosen: dict[TenantId, list[Command]] = {}
        for tenant, place in part:
            chosen.setdefault(tenant, []).append(self._commands[tenant][place])
        plan = await self._run(self._connection, chosen)
        if isinstance(plan, _Plan):
            self._stored(part, plan)
            return True
        self._refused += 1
        if len(part) == 1:
            await self._keep(part[0], plan)
        else:
            await self.run(part, bad=True)
        return False

    async def _keep(self, entry: Entry, error: Exception) -> None:
        """Keep the report of spend that can't be booked, in quarantine; leave any other command out."""
        tenant, place = entry
        command = self._commands[tenant][place]
        refused = self.results[entry] = verdict(error)
        if isinstance(command, Report):
            about = {"command": command.verb, "reason": str(error)}
            log.warning("spend can't be booked", extra=about, exc_info=error if refused is error else None)
            keeping = KeepUnbooked(command.key, command.fingerprint, report=command)
            plan = await self._run(self._connection, {tenant: [keeping]})
            if isinstance(plan, _Plan) and isinstance(plan.outcomes[tenant][0], Quarantined):
                self._stored([entry], plan)

    def _stored(self, part: Sequence[Entry], plan: _Plan) -> None:
        self.decided += plan.changes
        self.names.update((books.config.tenant_id, books.config.name) for books in plan.books)
        following = {tenant: iter(outcomes) for tenant, outcomes in plan.outcomes.items()}
        self.results.update({entry: next(following[entry[0]]) for entry in part})


class BatchTransactions:
    """Runs batches on given connections; remembers set-ups and recent holds between them."""

    def __init__(self, prices: PriceBook, clocks: ClockWatch) -> None:
        self.prices = prices
        """The global price book, as new as any batch has asked for."""
        self._clocks = clocks
        self._configs: dict[TenantId, TenantConfig] = {}
        self._books: dict[TenantId, PriceBook] = {}
        """The price book of each tenant, as of its set-up."""
        self._kept = KeptAccounts()
        self._recent = RecentHolds()
        self._names = RecentNames()
        self._not_ahead: dict[TenantId, int] = {}

    async def run(
        self, connection: Any, commands: Commands, predecessor: Predecessor | None, on_decided: OnDecided,
        *, lasts: bool = True,
    ) -> Committed:  # fmt: skip
        """Run a batch to its commit. Raises OutcomeUnknown if the connection is lost then, or driver errors.

        Unless it `lasts`, it may be undone if the database crashes within a second, until a later one was committed.
        """
        committed = asyncio.get_running_loop().create_future()
        try:
            done = await self._run(connection, commands, predecessor, committed, on_decided, lasts)
            committed.set_result(True)
        finally:
            if not committed.done():
                committed.set_result(False)
        return done

    async def _run(
        self,
        connection: Any,
        commands: Commands,
        predecessor: Predecessor | None,
        committed: asyncio.Future[bool],
        on_decided: OnDecided,
        lasts: bool,
    ) -> Committed:
        tenants = sorted(commands)
        await connection.execute("begin")
        await connection.execute(see_tenants(tenants))
        if predecessor is None:
            plan = await self._decide(connection, await lock_tenants(connection, tenants, self._clocks), commands)
        else:
            plan = await self._decide_ahead(connection, commands, predecessor)
        if len(tenants) == 1:
            if not plan.books:
                raise Unavailable(f"tenant {tenants[0]} has no ledger")
            if self._may_go_ahead(plan.books[0]):
                on_decided(tenants[0], Predecessor(plan.books[0], plan.known, committed))
        await send(connection, plan.writes)
        await _commit(connection, lasts=lasts)
        for books in plan.books:
            tenant = books.config.tenant_id
            self._recent.keep(tenant, books.writes)
            self._names.keep(tenant, books.writes)
            if tenant in plan.known and books.writes.leaves_accounts_known:
                self._kept.keep(books, plan.known[tenant])
        skipped = [tenant for tenant in tenants if tenant not in plan.outcomes]
        names = {books.config.tenant_id: books.config.name for books in plan.books}
        return Committed(plan.outcomes, plan.changes, names, skipped)

    async def try_out(self, connection: Any, tenant: TenantId, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Return what a batch of one tenant would come to, and change nothing."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(see_tenants([tenant]))
            locked = await lock_tenants(connection, [tenant], self._clocks)
            if not locked:
                raise Unavailable(f"tenant {tenant} has no ledger")
            plan = await self._decide(connection, locked, {tenant: commands})
            return plan.outcomes[tenant]
        finally:
            # What was read is committed by others, so it stays known: the tenant's next batch may be using it already.
            await transaction.rollback()

    async def run_in_parts(self, connection: Any, commands: Commands) -> Committed:
        """Run a batch that was refused, in parts with a savepoint each, to one commit.

        What fails is divided until the command at fault is alone; only that one fails. Raises as `run` does.
        """
        tenants = sorted(commands)
        try:
            await connection.execute("begin")
            await connection.execute(see_tenants(tenants))
            # The locks stay when a part is rolled back. Waiting for one tenant is safe only without other locks.
            locked = [lock.tenant_id for lock in await lock_tenants(connection, tenants, self._clocks)]
            if len(tenants) == 1 and not locked:
                raise Unavailable(f"tenant {tenants[0]} has no ledger")
            parts = _Parts(connection, commands, self._run_part)
            await parts.run([(tenant, place) for tenant in locked for place in range(len(commands[tenant]))], bad=True)
            await _commit(connection)
        except BaseException:
            self._forget(tenants)
            raise
        for tenant, _, writes in parts.decided:
            self._recent.keep(tenant, writes)
            self._names.keep(tenant, writes)
        answered = {
            tenant: [parts.results.get((tenant, place)) for place in range(len(commands[tenant]))] for tenant in locked
        }
        return Committed(answered, parts.decided, parts.names, [tenant for tenant in tenants if tenant not in answered])

    async def _run_part(self, connection: Any, commands: Commands) -> _Plan | Exception:
        """Decide and write some commands of a batch; roll them back and return the error if they are refused."""
        await connection.execute("savepoint part")
        try:
            plan = await self._decide(
                connection, await lock_tenants(connection, sorted(commands), self._clocks), commands
            )
            await send(connection, plan.writes)
            await connection.execute("release savepoint part")
            return plan
        except Exception as error:
            if not is_about_one(error):
                raise
            await connection.execute("rollback to savepoint part")
            self._forget(commands)
            return error

    def _forget(self, tenants: Iterable[TenantId]) -> None:
        """Forget what was read in a transaction or a part that was not committed."""
        for tenant in tenants:
            self._configs.pop(tenant, None)
            self._books.pop(tenant, None)
            self._names.forget(tenant)

    async def _decide(self, connection: Any, locked: Sequence[Locked], commands: Commands) -> _Plan:
        configs = await self._current_configs(connection, locked)
        known = {lock.tenant_id: self._kept.take(lock) for lock in locked}
        loaded = await load(connection, locked, configs, commands, self._books, known, self._recent, self._names)
        books = [
            Books(configs[tenant], self._books[tenant], lock.sequence, lock.now, loaded[tenant])
            for lock in locked
            for tenant in (lock.tenant_id,)
        ]
        return _Plan(books, known, commands)

    async def _decide_ahead(self, connection: Any, commands: Commands, predecessor: Predecessor) -> _Plan:
        (tenant,) = commands
        books = predecessor.books
        now = max(books.now, await read_clock(connection, self._clocks))
        booked = books.loaded.booked_tokens, books.loaded.booked_nanos
        assumed = Locked(tenant, books.sequence + 1, books.config.version, now, books.now, *booked)
        config = {tenant: books.config}
        known = {tenant: predecessor.known.pop(tenant)}
        prices = {tenant: books.prices}
        loaded = await load(connection, [assumed], config, commands, prices, known, self._recent, self._names, books)
        plan = _Plan([Books(books.config, books.prices, assumed.sequence, now, loaded[tenant])], known, commands)
        lock = await lock_at(connection, tenant, now, self._clocks)
        # This does not wait long: we have the lock, so the predecessor has ended.
        if await predecessor.committed and lock == assumed:
            return plan
        self._not_ahead[tenant] = BATCHES_NOT_AHEAD
        return await self._decide(connection, [lock], commands)

    def _may_go_ahead(self, books: Books) -> bool:
        """Tell whether the next batch may be decided on top of this one: not if another process shares the tenant."""
        tenant = books.config.tenant_id
        left = self._not_ahead.pop(tenant, 0)
        if left > 1:
            self._not_ahead[tenant] = left - 1
        return not left and not books.writes.stands_alone

    async def _current_configs(self, connection: Any, locked: Sequence[Locked]) -> Mapping[TenantId, TenantConfig]:
        stale = [
            lock
            for lock in locked
            if (config := self._configs.get(lock.tenant_id)) is None or config.version != lock.config_version
        ]
        if stale:
            self.prices = await load_newer_book(connection, self.prices)
            loaded = await load_configs(connection, stale)
            self._configs.update(loaded)
            self._books.update((tenant, book_with(self.prices, each.price_terms)) for tenant, each in loaded.items())
            for lock in stale:
                self._recent.forget(lock.tenant_id)
                self._names.forget(lock.tenant_id)
        return self._configs


def is_about_one(error: BaseException) -> bool:
    """Tell whether an error is about one command: the database refuses its data, or Python can't decide on it.

    Any other error of the database (a full disk, a missing privilege) would meet every command alike.
    """
    failure = failure_of(error)
    return failure in ABOUT_DATA or (failure is None and not isinstance(error, LedgerError | ClockDoubted))


def verdict(error: Exception) -> Exception:
    """Return what the sender of the one command that was refused gets; a bug is what it is."""
    failure = failure_of(error)
    if failure is Failure.RULE:
        return Unavailable(f"{failure}: {error}")
    if isinstance(error, RowMissing):
        return Unavailable(str(error))
    if failure is Failure.VALUE or isinstance(error, ValueError | OverflowError):
        return Unstorable(str(error))
    return error


async def _commit(connection: Any, *, lasts: bool = True) -> None:
    """Commit; wait until it is on disk, if it is to last by itself. Others wait for the tenant's lock meanwhile."""
    try:
        await connection.execute("commit" if lasts else "set local synchronous_commit = off; commit")
    except Exception as error:
        if failure_of(error) is Failure.AWAY:
            raise OutcomeUnknown(f"the connection was lost at commit: {error}") from error
        raise
