"""Replays recorded sessions through the SDK: each session is a run, with its calls in order; many run at a time."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from policy import RUN_ALLOCATION, RUN_LIMITS
from traffic import RealCall, Session

from token_ledger_sdk import AsyncRun, AsyncTokenLedger, BudgetExceeded


@dataclass(frozen=True, slots=True)
class Booked:
    """A call that was granted and settled, and what the ledger says it cost."""

    call: RealCall
    provider: str
    model: str
    cost: Decimal
    overrun: bool
    warned: bool
    booked_at: datetime

    @property
    def downgraded(self) -> bool:
        """Whether the ledger chose a cheaper model than the one asked for."""
        return self.model != self.call.model


@dataclass(slots=True)
class Replay:
    """What became of the calls of a replay."""

    booked: list[Booked] = field(default_factory=list)
    denied: list[RealCall] = field(default_factory=list)
    reserve_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def calls_per_second(self) -> float:
        """Calls per second, settled or denied."""
        return (len(self.booked) + len(self.denied)) / self.seconds

    def reserve_milliseconds(self, percent: int) -> float:
        """Return the latency percentile of the reserves."""
        ordered = sorted(self.reserve_seconds)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] * 1000


async def replay(
    ledger: AsyncTokenLedger, sessions: Iterable[Session], *, concurrency: int, on_call: Callable[[bool], None]
) -> Replay:
    """Replay sessions, `concurrency` at a time; calls `on_call` after each call with whether it was granted."""
    done = Replay()
    waiting = iter(sessions)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(_work(ledger, waiting, done, on_call))
    done.seconds = time.perf_counter() - started
    return done


async def _work(
    ledger: AsyncTokenLedger, waiting: Iterator[Session], done: Replay, on_call: Callable[[bool], None]
) -> None:
    for session in waiting:
        async with ledger.run(
            user=session.user,
            cost_center=session.cost_center,
            external_id=session.name,
            limits=RUN_LIMITS,
            allocation=RUN_ALLOCATION,
            idempotency_key=f"run:{session.name}",
        ) as run:
            for call in session.calls:
                on_call(await _replay_call(run, call, done))


async def _replay_call(run: AsyncRun, call: RealCall, done: Replay) -> bool:
    """Reserve and settle one call; returns False if it was denied. A real agent would call the provider in between."""
    asked = time.perf_counter()
    try:
        hold = await run.reserve(
            agent_type=call.agent_type,
            provider=call.provider,
            model=call.model,
            input_tokens=call.usage.input_tokens,
            cached_input_tokens=call.expected_cached_tokens,
            cache_write=call.cache_write,
            max_output_tokens=call.max_output_tokens,
            requires=call.requires,
            tool=call.tool,
            idempotency_key=f"reserve:{call.session}:{call.position}",
        )
    except BudgetExceeded:
        done.denied.append(call)
        return False
    finally:
        done.reserve_seconds.append(time.perf_counter() - asked)
    async with hold:
        settled = await hold.settle(call.usage)
    done.booked.append(
        Booked(
            call=call,
            provider=hold.provider,
            model=hold.model,
            cost=settled.cost,
            overrun=settled.overrun,
            warned=bool(hold.warnings),
            booked_at=datetime.now(UTC),
        )
    )
    return True
