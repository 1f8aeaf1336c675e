"""What the simulated administrators ask for: limits that move, grants, users, calendars, and the button that stops."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.simulation.commands import AGENT_TYPES, NOTHING, USERS, limits
from token_ledger.core.administration import (
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    DecideIncrease,
    ForceRelease,
    GiveGrant,
    SetCalendar,
    SetUsers,
    StopTenant,
)
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Enforcement, Limits
from token_ledger.core.commands import Extend, Rebalance, TakeStep, TendAccounts
from token_ledger.core.tenant import User
from token_ledger.core.window import CalendarRule

ACTOR = "key:admin"
ids = st.sampled_from


def some(numbers: list[int]) -> st.SearchStrategy[int]:
    """One of the newest numbers, seldom one that names nothing."""
    return st.sampled_from([*numbers[-8:], *numbers[-4:], NOTHING])


amounts = st.builds(
    Limits,
    st.sampled_from((None, 1, 500, 1_000, 5_000)),
    st.sampled_from((None, None, 1_000_000, 50_000_000)),
    st.sampled_from((None, None, 1, 3)),
).filter(lambda limit: not limit.is_nothing)


def ends(clock: datetime) -> st.SearchStrategy[datetime | None]:
    """When a grant ends: never, soon, before now, or long after."""
    seconds = st.sampled_from((None, -1, 0, 1, 60, 3_600, 3_600, 7_200, 86_400, 40 * 86_400))
    return seconds.map(lambda found: None if found is None else clock + timedelta(seconds=found))


def grants(accounts: list[int], clock: datetime) -> st.SearchStrategy[GiveGrant]:
    """Extra limit on an account."""
    return st.builds(
        lambda account, amount, until: GiveGrant("", b"", account, amount, "a deadline", ACTOR, until),
        some(accounts), amounts, ends(clock),
    )  # fmt: skip


def asked_increases(accounts: list[int]) -> st.SearchStrategy[AskIncrease]:
    """A request for more."""
    return st.builds(
        lambda account, amount: AskIncrease("", b"", account, amount, "more", "key:agent"), some(accounts), amounts
    )


def decisions(increases: list[int], clock: datetime) -> st.SearchStrategy[DecideIncrease]:
    """What becomes of a request."""
    return st.builds(
        lambda number, approve, until: DecideIncrease(
            "", b"", number, approve, ACTOR, None, until if approve else None
        ),
        some(increases), st.booleans(), ends(clock),
    )  # fmt: skip


def changed_budgets(budgets: list[int]) -> st.SearchStrategy[ChangeBudget]:
    """A budget that allows more, less, or otherwise."""
    return st.builds(
        lambda number, limit, enforcement, thresholds: ChangeBudget(
            "", b"", number, limit, enforcement, thresholds, None, ACTOR
        ),
        some(budgets), st.one_of(st.none(), limits), st.sampled_from((None, None, *Enforcement)),
        st.sampled_from((None, None, (10, 50), ())),
    )  # fmt: skip


def rebalances(runs: list[int]) -> st.SearchStrategy[Rebalance]:
    """A run split anew."""
    shares = st.lists(st.sampled_from((*AGENT_TYPES, "newcomer")), min_size=1, max_size=3, unique=True)
    return st.builds(
        lambda run, names, weights, minimum: Rebalance(
            "", b"", run,
            tuple(Share(name, weight, minimum) for name, weight in zip(names, weights, strict=False)),
        ),
        some(runs), shares, st.lists(st.integers(1, 9), min_size=3, max_size=3), st.sampled_from((0, 0, 50, 4_000)),
    )  # fmt: skip


def changed_runs(runs: list[int]) -> st.SearchStrategy[ChangeRun]:
    """Other limits for a run."""
    return st.builds(
        lambda run, limit, iterations: ChangeRun("", b"", run, limit, iterations, "why not", ACTOR),
        some(runs), limits, st.sampled_from((None, 0, 1, 5)),
    )  # fmt: skip


def steps(runs: list[int]) -> st.SearchStrategy[TakeStep]:
    """Another iteration."""
    return some(runs).map(lambda run: TakeStep("", b"", run, None))


def extensions(holds: list[int]) -> st.SearchStrategy[Extend]:
    """More time for a hold."""
    return st.builds(
        lambda hold, ttl: Extend("", b"", hold, ttl), some(holds), st.sampled_from((1, 300, 3_600, 86_400))
    )


def forced_releases(holds: list[int]) -> st.SearchStrategy[ForceRelease]:
    """The end of a hold whose client is believed dead."""
    return some(holds).map(lambda hold: ForceRelease("", b"", hold, "dead", ACTOR))


def tended(accounts: list[int]) -> st.SearchStrategy[TendAccounts]:
    """What the worker does."""
    return st.just(TendAccounts(tuple(accounts[-40:])))


def set_users(clock: datetime) -> st.SearchStrategy[SetUsers]:
    """Cost centers of a user, the second from some instant on."""
    dated = st.sampled_from((-86_400, 0, 3_600, 86_400)).map(lambda seconds: clock + timedelta(seconds=seconds))
    return st.builds(
        lambda name, since: SetUsers("", b"", (User(name, ((None, "lab"), (since, "research"))),), ACTOR),
        st.sampled_from(USERS), dated,
    )  # fmt: skip


def set_calendars(clock: datetime) -> st.SearchStrategy[SetCalendar]:
    """Another zone, week or year, from soon on, too soon, or too late."""
    rules = st.builds(
        CalendarRule,
        st.sampled_from(("America/New_York", "Asia/Kathmandu", "Pacific/Auckland")).map(ZoneInfo),
        st.sampled_from((0, 6)), st.sampled_from((1, 4)),
    )  # fmt: skip
    at = st.sampled_from((None, 60, 3_600, 86_400, 800 * 86_400)).map(
        lambda seconds: None if seconds is None else clock + timedelta(seconds=seconds)
    )
    return st.builds(lambda rule, instant: SetCalendar("", b"", rule, ACTOR, instant), rules, at)


STOP = StopTenant("", b"", "runaway", ACTOR)
RESUME = StopTenant("", b"", None, ACTOR)
