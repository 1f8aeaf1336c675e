"""A usual batch is booked by one statement, as under the lock; whatever is not as assumed, nothing of it is written."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.core.given import PRICES
from tests.ledger.test_deciding_ahead import Wrapped, hold, new_transactions
from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.administration import CreateBudget, SetTrigger
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.details import Details
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.run import RunState
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.ledger.errors import AnswerLost
from token_ledger.ledger.one_statement import BEHIND
from token_ledger.ledger.pauses import Pauses
from token_ledger.ledger.plan import OnDecided, Predecessor
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import APP_ROLE
from token_ledger.storage.load.kept_state import KeptState
from token_ledger.storage.write.one_statement import BOOK

JOURNALS = (
    "accounts", "reservations", "usage_events", "operation_keys", "denials", "trigger_firings", "runs", "run_steps",
    "hourly_usage", "daily_usage", "daily_tag_usage", "run_usage",
)  # fmt: skip
BOUND = "interval '100 milliseconds'"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Heard(Wrapped):
    """It notes all that is sent."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.sent: list[str] = []

    async def fetch(self, query: str, *arguments: Any) -> Any:
        self.sent.append(query)
        return await self._connection.fetch(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> Any:
        self.sent.append(query)
        return await self._connection.execute(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        self.sent.append(query)
        return await self._connection.fetchval(query, *arguments)


class Lost(Heard):
    """The connection is lost with the one statement: before it is sent, or, if it `arrives`, with its answer."""

    arrives = False

    async def fetch(self, query: str, *arguments: Any) -> Any:
        if query == BOOK:
            if self.arrives:
                await super().fetch(query, *arguments)
            raise ConnectionError("the connection was lost")
        return await super().fetch(query, *arguments)


class AnswerIsLost(Lost):
    arrives = True


@pytest.fixture
async def ledger(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    """A budget with room, and a soft one without; an instant may lie long before the clock, on slow machines."""
    async with open_ledger(database_url) as opened:
        if "ahead" not in request.fixturenames:
            book = await opened.owner.fetchval("select pg_get_functiondef('token_ledger_book'::regproc)")
            assert BOUND in book
            await opened.owner.execute(book.replace(BOUND, "interval '1 hour'"))
        await prepare(opened)
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def prepare(ledger: Ledger) -> None:
    for name, tokens, enforcement in (("cap", 100_000, Enforcement.HARD), ("soft", 100, Enforcement.SOFT)):
        limits = Limits(tokens=tokens)
        made = CreateBudget(name, b"x", name, (), limits, Window.DAY, enforcement, thresholds=())
        await ledger.ask(made, outcomes.BudgetAnswer)


async def run(
    ledger: Ledger, transactions: BatchTransactions, *batch: commands.Command, on: type[Heard] = Heard,
    on_decided: OnDecided = lambda *_: None,
) -> tuple[Sequence[Any], list[str]]:  # fmt: skip
    """Run a batch; return its outcomes and all that was sent."""
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as connection:
        heard = on(connection)
        done = await transactions.run(heard, {ledger.tenant: batch}, None, on_decided)
        return done.outcomes[ledger.tenant], heard.sent


def settle(granted: outcomes.Granted, key: str, **fields: Any) -> commands.Settle:
    return commands.Settle(key, b"x", granted.reservation.reservation_id, **{"usage": Usage(10, 10), **fields})


CALL: dict[str, Any] = {
    "user": "ada", "cost_center": "research", "agent_type": "writer", "request_type": "summary", "provider": "openai",
    "model": "gpt-5.4", "tool": "search", "tags": (("team", "x"), ("stage", "y")),
}  # fmt: skip
USED: dict[str, Any] = {
    "usage": Usage(701, 307, 101, 53, 29, 11, others=others_of({"audio_input_tokens": 7})), "service_tier": "flex",
    "failed": True, "estimated": True, "details": Details(latency_ms=47, finish_reason="stop"),
}  # fmt: skip
"""What a call says and has used: no two things are alike, so that each is told from every other."""
SERVED: dict[str, Any] = {**USED, "provider": "azure", "model": "gpt-4.1", "original_input_tokens": 997}


async def usual_batches(ledger: Ledger, transactions: BatchTransactions) -> list[list[str]]:
    """Run a batch of every usual kind, after some that are not; return what each of the usual ones sent."""
    trigger = SetTrigger("trigger", b"x", TriggerKind.HIGH_TOKEN_USAGE, 1, Mode.OBSERVE, actor="root")
    await ledger.ask(trigger, outcomes.TriggerAnswer)
    step = Downgrade("openai", "gpt-5.4", "openai", "gpt-5.4-mini", (), 100_000)
    cheaper = SetTrigger(
        "cheaper", b"x", TriggerKind.HIGH_COST, 100, Mode.APPLY, per_call_nanos=20_000_000, downgrades=(step,),
        actor="root",
    )  # fmt: skip
    await ledger.ask(cheaper, outcomes.TriggerAnswer)
    opened = commands.OpenRun("run", b"x", "ada", limits=Limits(tokens=50_000), iterations=9)
    [answer], _ = await run(ledger, transactions, opened)
    number = answer.run.run_id
    tagged = reserve(key="a", run_id=number, tags=(("team", "x"),))
    [first], _ = await run(ledger, transactions, tagged)
    [held], _ = await run(ledger, transactions, reserve(key="b", user="ada"))
    extend = commands.Extend("x", b"x", held.reservation.reservation_id, 900)
    record = commands.Record("e", b"x", "tests", response_id="resp-2", **CALL, **USED)
    dear = reserve(
        **CALL, key="dear", input_tokens=9_001, cached_input_tokens=89, max_output_tokens=701, ttl_seconds=411
    )
    [downgraded], _ = await run(ledger, transactions, replace(dear, key="names"))
    served = settle(downgraded, "names", **{**SERVED, "failed": False})
    await run(ledger, transactions, served, replace(record, key="before", response_id="resp-0"))
    occurred_at = datetime.now(UTC) - timedelta(minutes=1)
    [downgraded, other], _ = await run(ledger, transactions, replace(dear, key="g"), replace(dear, key="h"))
    usual: list[list[commands.Command]] = [
        [reserve(key="c", user="ada"), replace(tagged, key="d"), dear],
        [commands.Step("step", b"x", number, "think"), extend],
        [
            settle(first, "part", part=True),
            settle(other, "part of it", part=True, response_id="resp-3", occurred_at=occurred_at, **SERVED),
        ],
        [settle(first, "sa", failed=True), settle(held, "sb", usage=Usage(2_003, 13))],
        [settle(downgraded, "sc", response_id="resp-1", occurred_at=occurred_at, **SERVED)],
        [record, reserve(key="big", user="ada", input_tokens=500_000)],
    ]
    sent = []
    for batch in usual:
        _, heard = await run(ledger, transactions, *batch)
        sent.append(heard)
    [kept], _ = await run(ledger, transactions, reserve(key="f", user="ada"))
    _, heard = await run(ledger, transactions, commands.Release("r", b"x", kept.reservation.reservation_id, "not made"))
    return [*sent, heard]


async def test_usual_batches_are_one_statement_each_and_write_what_is_written_under_the_lock(
    ledger: Ledger, database_url: str
) -> None:
    at_once = await new_transactions(ledger, one_statement=True)
    assert await usual_batches(ledger, at_once) == [[BOOK]] * 7
    async with open_ledger(database_url, "other") as other:
        await prepare(other)
        locked = await new_transactions(other)
        for sent in await usual_batches(other, locked):
            assert "commit" in sent
        for table in JOURNALS:
            rows = [await _rows(ledger, table, tenant) for tenant in (ledger.tenant, other.tenant)]
            assert rows[0] == rows[1], table
            assert rows[0], f"nothing was written to {table}"


async def _rows(ledger: Ledger, table: str, tenant: int) -> list[str]:
    """Return the rows of a tenant without the tenant itself, and with the order of instants in place of these."""
    instants = await ledger.owner.fetchval(
        "select array_agg(column_name::text) from information_schema.columns where table_schema = 'public'"
        " and table_name = $1 and data_type = 'timestamp with time zone'", table,
    )  # fmt: skip
    found = await ledger.owner.fetch(
        f"select (to_jsonb(t) - 'tenant_id')::text as r from {table} as t where tenant_id = $1", tenant
    )
    rows = []
    for row in found:
        values = json.loads(row["r"])
        order = sorted({values[name] for name in instants or () if values[name] is not None})
        values.update({name: order.index(values[name]) for name in instants or () if values[name] is not None})
        rows.append(json.dumps(values, sort_keys=True))
    return sorted(rows)


async def test_what_another_process_wrote_makes_a_batch_stale_and_the_next_ones_take_the_lock(ledger: Ledger) -> None:
    one, other = [await new_transactions(ledger, one_statement=True) for _ in range(2)]
    [first], _ = await run(ledger, one, hold("ada", "a"))
    await run(ledger, other, hold("bob", "b"))
    [settled], sent = await run(ledger, one, settle(first, "sa"))
    assert isinstance(settled, outcomes.Settled)
    assert (sent[0], sent[1], sent[-1]) == (BOOK, "begin", "commit")
    assert one.became == {"stale": 1}
    for number in range(32):
        _, sent = await run(ledger, one, hold("ada", f"locked-{number}"))
        assert BOOK not in sent
    assert (await run(ledger, one, hold("ada", "again")))[1] == [BOOK]


async def test_a_number_that_comes_round_again_is_noticed(ledger: Ledger) -> None:
    """As after a fail-over to a replica that lagged: all that tells another batch is its random number."""
    transactions = await new_transactions(ledger, one_statement=True)
    await run(ledger, transactions, hold("ada", "a"))
    await ledger.owner.execute("update tenant_ledgers set batch_stamp = batch_stamp + 1")
    _, sent = await run(ledger, transactions, hold("ada", "b"))
    assert len(sent) > 1
    assert transactions.became == {"stale": 1}


async def test_a_repeated_key_is_answered_from_its_row_and_the_rest_of_its_batch_is_booked_once(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    [first], _ = await run(ledger, transactions, hold("ada", "a"))
    [again, new], sent = await run(ledger, transactions, hold("ada", "a"), hold("ada", "b"))
    assert sent[0] == BOOK
    assert (again.replayed, again.reservation.reservation_id) == (True, first.reservation.reservation_id)
    assert not new.replayed
    assert transactions.became == {"refused": 1}
    assert await ledger.owner.fetchval("select count(*) from reservations") == 2
    _, sent = await run(ledger, transactions, hold("ada", "c"))
    assert BOOK not in sent, "whoever repeats keys would waste every batch"


async def test_the_same_key_twice_in_a_batch_is_one_hold(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    await run(ledger, transactions, hold("ada", "a"))
    [new, again], sent = await run(ledger, transactions, hold("ada", "b"), hold("ada", "b"))
    assert sent == [BOOK]
    assert (new.replayed, again.replayed) == (False, True)
    assert new.reservation.reservation_id == again.reservation.reservation_id


async def test_a_hold_that_is_due_expires_before_anything_is_decided(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    [first], _ = await run(ledger, transactions, hold("ada", "a", input_tokens=90_000))
    await ledger.owner.execute("update reservations set expires_at = created_at")  # as if another process had given it
    [granted], sent = await run(ledger, transactions, hold("ada", "b", input_tokens=90_000))
    assert isinstance(granted, outcomes.Granted), "the first hold gave its room back"
    assert transactions.became == {"due": 1}
    assert sent[0] == BOOK
    state = "select state from reservations where reservation_id = $1"
    assert await ledger.owner.fetchval(state, first.reservation.reservation_id) == "expired"


async def test_a_response_that_is_known_is_no_second_call(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    answers, _ = await run(ledger, transactions, *(hold("ada", key) for key in "abc"))
    first, second, third = answers
    [settled], sent = await run(ledger, transactions, settle(first, "sa", response_id="resp-1"))
    assert (settled.event.is_duplicate, sent) == (False, [BOOK])
    [settled], _ = await run(ledger, transactions, settle(second, "sb", response_id="resp-1"))
    assert settled.event.is_duplicate
    assert transactions.became == {"booked": 1, "known": 1}
    [settled], _ = await run(ledger, transactions, settle(third, "sc", response_id="resp-2"))
    assert not settled.event.is_duplicate


@pytest.mark.parametrize("ahead", [timedelta(seconds=0.5), -timedelta(seconds=0.5)])
async def test_an_instant_is_refused_that_the_clock_has_not_reached_or_left_long_ago(
    ahead: timedelta, ledger: Ledger
) -> None:
    transactions, clocks = await new_transactions(ledger, one_statement=True), ledger.database.clocks
    await run(ledger, transactions, hold("ada", "a"))
    # The tenant's last instant must not be later than one that lies behind.
    await ledger.owner.execute("update tenant_ledgers set booked_at = booked_at - interval '2 seconds'")
    known = transactions._remembered.kept.get(ledger.tenant)
    assert known is not None
    assert known.left is not None
    known.left = (*known.left[:2], known.left[2] - timedelta(seconds=2), *known.left[3:])
    clocks.hear(await ledger.owner.fetchval("select clock_timestamp()") + ahead)
    _, sent = await run(ledger, transactions, hold("ada", "b"))
    assert transactions.became == {"instant": 1}
    assert sent[0] == BOOK
    proposed, now = clocks.propose(), await ledger.owner.fetchval("select clock_timestamp()")
    assert proposed is not None
    assert proposed <= now < proposed + timedelta(seconds=60), "the answer told what the clock is"


async def test_while_a_tenant_s_instant_is_ahead_of_the_clock_its_batches_are_sent_once(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    await ledger.owner.execute("update tenant_ledgers set booked_at = clock_timestamp() + interval '50 seconds'")
    await run(ledger, transactions, hold("ada", "a"))
    _, sent = await run(ledger, transactions, hold("ada", "b"))
    assert (sent[0], sent[-1]) == ("begin", "commit")
    assert transactions.became == {}
    await ledger.owner.execute("update tenant_ledgers set booked_at = clock_timestamp()")
    await run(ledger, transactions, hold("ada", "c"))
    assert (await run(ledger, transactions, hold("ada", "d")))[1] == [BOOK]


@pytest.mark.parametrize("on", [Lost, AnswerIsLost])
async def test_a_batch_whose_answer_is_lost_leaves_nothing_known_and_its_keys_tell(
    on: type[Lost], ledger: Ledger
) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    [first], _ = await run(ledger, transactions, hold("ada", "a"))
    batch = hold("ada", "b"), settle(first, "sa")
    with pytest.raises(AnswerLost):
        await run(ledger, transactions, *batch, on=on)
    assert transactions._remembered.kept.get(ledger.tenant) is None
    assert transactions.became == {"lost": 1}
    answers, sent = await run(ledger, transactions, *batch)
    assert sent[0] == "begin"
    assert [answer.replayed for answer in answers] == [on.arrives] * 2
    assert await ledger.owner.fetchval("select count(*) from reservations") == 2
    assert await ledger.owner.fetchval("select count(*) from usage_events") == 1


async def test_a_data_error_leaves_nothing_written_and_names_the_command_at_fault(ledger: Ledger) -> None:
    await ledger.hold()
    good, bad = hold("ada", "good"), hold("a\0b", "bad")
    for _ in range(2):
        assert isinstance(await ledger.commits.submit(ledger.tenant, good), outcomes.Granted)
        with pytest.raises(Exception, match="0x00"):
            await ledger.commits.submit(ledger.tenant, bad)
    assert await ledger.owner.fetchval("select count(*) from reservations") == 2


async def test_what_ends_soon_is_left_to_the_lock(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    one = transactions._one_statement
    await run(ledger, transactions, hold("ada", "a"))
    known = transactions._remembered.kept.get(ledger.tenant)
    assert known is not None

    async def is_left(key: str) -> bool:
        return await one.decide({ledger.tenant: [hold("ada", key)]}, None) is None

    account = next(iter(known.by_id.values()))
    for soon in (datetime.now(UTC) - BEHIND, datetime.now(UTC) + timedelta(days=365)):
        account.grants_until = soon
        assert await is_left("b") is (soon < datetime.now(UTC))
        transactions._remembered.kept.keep(ledger.tenant, known)
    account.grants_until = None
    assert known.until is not None
    assert known.until - datetime.now(UTC) <= timedelta(hours=1), "an hour of the roll-ups ends"
    known.until = datetime.now(UTC) + timedelta(hours=1)
    assert known.left is not None
    known.left = (*known.left[:2], known.until - BEHIND, *known.left[3:])
    assert await is_left("c")
    transactions._remembered.kept.drop(ledger.tenant)


def test_prices_tell_when_they_change_next() -> None:
    rates = Rates(1, 1, 1, 1, 1, 1)
    day = Price(1, rates, valid_from=NOW + timedelta(days=1))
    served = Price(2, rates, service_tiers={"flex": (replace(day, valid_from=NOW + timedelta(hours=5)),)})
    night = Price(3, rates, daily_from=(NOW + timedelta(hours=7)).time(), daily_until=(NOW - timedelta(hours=1)).time())

    def book(*entries: Price) -> PriceBook:
        return PriceBook({("a", "b"): ModelPrices("a", "b", entries)}, lambda *_: None)

    assert book(Price(9, rates)).next_change(NOW) is None
    assert book(day).next_change(NOW) == NOW + timedelta(days=1)
    assert book(day).next_change(NOW + timedelta(days=1)) is None
    assert book(day, served).next_change(NOW) == NOW + timedelta(hours=5)
    assert book(night).next_change(NOW) == NOW + timedelta(hours=7)
    assert book(night).next_change(NOW + timedelta(hours=7)) == NOW + timedelta(hours=23)
    assert PRICES.next_change(NOW) is None or PRICES.next_change(NOW) > NOW  # type: ignore[operator]


async def test_a_run_that_has_ended_and_one_that_another_process_ended_take_no_calls(ledger: Ledger) -> None:
    one, other = [await new_transactions(ledger, one_statement=True) for _ in range(2)]
    [opened], _ = await run(ledger, one, commands.OpenRun("run", b"x", "ada"))
    call = reserve(key="a", run_id=opened.run.run_id)
    await run(ledger, one, call)
    assert (await run(ledger, one, replace(call, key="b")))[1] == [BOOK]
    await run(ledger, other, commands.EndRun("end", b"x", opened.run.run_id, RunState.CANCELLED))
    [refused], _ = await run(ledger, one, replace(call, key="c"))
    assert isinstance(refused, outcomes.Refused)
    assert refused.code is outcomes.Code.RUN_NOT_OPEN


async def announced_by(
    ledger: Ledger, transactions: BatchTransactions, *batch: commands.Command
) -> tuple[list[bool], list[str]]:
    """Run a batch; return which of its announcements to the next batch were true in the end, and all that was sent."""
    decided: list[Predecessor] = []
    _, sent = await run(ledger, transactions, *batch, on_decided=lambda _, each: decided.append(each))
    return [each.committed.result() for each in decided], sent


async def test_a_batch_is_announced_to_the_next_one_once_and_only_if_it_may_be_booked_as_decided(
    ledger: Ledger,
) -> None:
    one, other = [await new_transactions(ledger, one_statement=True) for _ in range(2)]
    [opened], _ = await run(ledger, one, commands.OpenRun("run", b"x", "ada"))
    call = reserve(key="a", run_id=opened.run.run_id)
    await run(ledger, one, call)
    assert await announced_by(ledger, one, replace(call, key="b")) == ([True], [BOOK])
    await run(ledger, one, commands.EndRun("end", b"x", opened.run.run_id, RunState.CANCELLED))
    announced, sent = await announced_by(ledger, one, replace(call, key="c"))  # refused, and not by the statement
    assert (announced, BOOK in sent) == ([True], False)
    assert one.became == {"booked": 1, "unusual": 1}
    one._one_statement._pauses = Pauses()
    await run(ledger, other, hold("bob", "d"))
    announced, sent = await announced_by(ledger, one, hold("ada", "e"))
    assert (announced, sent[0], sent[-1]) == ([False], BOOK, "commit")


async def test_a_batch_that_can_not_be_one_statement_is_decided_again_where_it_was_decided_ahead(
    ledger: Ledger,
) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    [opened], _ = await run(ledger, transactions, commands.OpenRun("run", b"x", "ada"))
    call = reserve(key="a", run_id=opened.run.run_id)
    await run(ledger, transactions, call)
    await run(ledger, transactions, commands.EndRun("end", b"x", opened.run.run_id, RunState.CANCELLED))
    batch = [replace(call, key="b"), hold("ada", "c")]
    ahead: list[asyncio.Task[tuple[Sequence[Any], list[str]]]] = []
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as connection:

        async def decided_ahead(predecessor: Predecessor) -> tuple[Sequence[Any], list[str]]:
            heard = Heard(connection)
            done = await transactions.run(heard, {ledger.tenant: batch}, predecessor, lambda *_: None)
            return done.outcomes[ledger.tenant], heard.sent

        def begin(_: TenantId, predecessor: Predecessor) -> None:
            ahead.append(asyncio.create_task(decided_ahead(predecessor)))

        await run(ledger, transactions, hold("ada", "d"), on_decided=begin)
        [(outcomes_ahead, sent)] = await asyncio.gather(*ahead)
    assert [type(outcome) for outcome in outcomes_ahead] == [outcomes.Refused, outcomes.Granted]
    assert (sent[0], sent[-1]) == ("begin", "commit")
    assert transactions.became == {"booked": 1, "unusual": 1}


async def test_what_is_not_kept_is_loaded(ledger: Ledger) -> None:
    transactions = await new_transactions(ledger, one_statement=True)
    transactions._remembered.kept = KeptState(most=1)
    for number in range(3):
        [granted], sent = await run(ledger, transactions, hold("ada", str(number)))
        assert isinstance(granted, outcomes.Granted)
        assert BOOK not in sent


async def test_the_statement_reaches_no_row_of_another_tenant_and_leaves_no_tenant_behind(
    ledger: Ledger, database_url: str
) -> None:
    async with open_ledger(database_url, "other") as other:
        await prepare(other)
        await other.hold()
        transactions = await new_transactions(ledger, one_statement=True)
        await run(ledger, transactions, hold("ada", "a"))
        decided = await transactions._one_statement.decide({ledger.tenant: [hold("ada", "b")]}, None)
        assert decided is not None
        statement = decided.statement
        assert statement is not None
        before = await _everything(other)
        # Both tenants have accounts of the same ids, and none of the rows names its tenant.
        assert await _rows(ledger, "accounts", ledger.tenant) == before[0]
        service = await asyncpg.connect(database_url, server_settings={"role": APP_ROLE})
        try:
            stamp = decided.lock.stamp
            assert (await statement.book(service, ledger.tenant, stamp, (), None, lasts=True))[0] == "booked"
            assert await _everything(other) == before
            assert (await statement.book(service, other.tenant, stamp, (), None, lasts=True))[0] == "stale"
            assert await _everything(other) == before
            for table in ("accounts", "reservations", "operation_keys"):  # they have rows, so the policy is asked
                with pytest.raises((asyncpg.UndefinedObjectError, asyncpg.InvalidTextRepresentationError)):
                    await service.fetch(f"select * from {table}")
        finally:
            await service.close()


async def _everything(ledger: Ledger) -> list[list[str]]:
    return [await _rows(ledger, table, ledger.tenant) for table in (*JOURNALS, "tenant_ledgers")]


async def test_two_processes_at_once_book_every_call_once(ledger: Ledger, database_url: str) -> None:

    async with open_ledger(database_url, is_new=False) as second:

        async def caller(number: int) -> None:
            one, other = (ledger, second) if number % 2 else (second, ledger)
            for turn in range(10):
                granted = await one.commits.submit(one.tenant, hold("ada", f"{number}-{turn}", input_tokens=10))
                assert isinstance(granted, outcomes.Granted)
                settled = await other.commits.submit(other.tenant, settle(granted, f"s-{number}-{turn}"))
                assert isinstance(settled, outcomes.Settled)

        await asyncio.gather(*(caller(number) for number in range(6)))
        assert await ledger.owner.fetchval("select count(*) from usage_events") == 60
        assert await ledger.owner.fetchval("select sum(held_calls) from accounts") == 0


KEPT = {"accounts", "reservations", "runs"}
"""The tables of which rows are kept between batches, besides the set-up, which has a version."""
SET_UP = {
    "budgets", "budget_terms", "calendar_changes", "erasures", "model_names", "tenant_aliases", "tenant_discounts",
    "tenant_models", "tenant_prices", "tenant_ledgers", "triggers", "users",
}  # fmt: skip


async def test_whoever_writes_what_is_kept_moves_the_sequence_or_the_version(ledger: Ledger) -> None:
    """Functions of the database that write a table of which rows are kept, and why each may."""
    rows = await ledger.owner.fetch("select proname, prosrc from pg_proc where proname like 'token_ledger_%'")
    sources = {row["proname"]: row["prosrc"] for row in rows}
    writing = {
        (name, table)
        for name, text in sources.items()
        for table in KEPT | SET_UP
        if any(f"{verb} {table}" in text for verb in ("update", "insert into", "delete from"))
    }
    moves = {name for name, text in sources.items() if "sequence + 1" in text or "config_version + 1" in text}
    assert moves == {"token_ledger_book", "token_ledger_erase"}
    # An erasure begins in a batch that raises the version. What is kept from then on has the pseudonym, so the rows of
    # holds and runs may get it later and nothing moves (see `test_kept_accounts`). Retention deletes holds that have
    # ended, which are not kept, and no runs.
    assert {name for name, _ in writing} - moves == {"token_ledger_begin_erasure", "token_ledger_rename_terms"}
    assert "token_ledger_rename_terms(" in sources["token_ledger_begin_erasure"]
    assert "t.state <> ''held''" in sources["token_ledger_forget"]
    assert "'runs'" not in sources["token_ledger_forget"]


async def test_each_row_is_found_by_one_probe_however_many_there_are(ledger: Ledger) -> None:
    """Its plans are made while the tables are empty, and kept: then one that reads all of a tenant looks as good."""
    transactions = await new_transactions(ledger, one_statement=True)

    async def reads() -> int:
        pool = await ledger.database.writer_pool()
        async with pool.acquire() as connection:
            await connection.execute("select pg_stat_force_next_flush()")
        total = (
            "select sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname in ('reservations', 'accounts')"
        )
        return int(await ledger.owner.fetchval(total))

    def small(key: str) -> commands.Command:
        return hold("ada", key, input_tokens=10, max_output_tokens=10)

    async def read_by(each: int) -> int:
        """Return what a batch of ten settles reads, after one of fifty holds, of which the others stay open."""
        granted, _ = await run(ledger, transactions, *(small(f"{each}-{number}") for number in range(50)))
        before = await reads()
        settles = [settle(granted[number], f"{each}-s{number}") for number in range(10)]
        _, sent = await run(ledger, transactions, *settles)
        assert sent == [BOOK]
        return await reads() - before

    await read_by(0)  # which asks for what is not known yet
    few = await read_by(1)
    for each in range(2, 22):
        many = await read_by(each)
    assert 0 < many <= few + 20
