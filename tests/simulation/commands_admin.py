"""Commands of the simulated administrators: limits, grants, users, calendars, the emergency stop."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.simulation.commands import AGENT_TYPES, NOTHING, USERS, limits, overrides
from tests.simulation.price_list import MODELS, PROVIDER
from token_ledger.core.batch import administration
from token_ledger.core.batch.commands import Extend, Rebalance, Step, TendAccounts
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Enforcement, Limits, Unit
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.tenant import User
from token_ledger.core.model.window import CalendarRule

ACTOR = "key:admin"
ids = st.sampled_from


def some(numbers: list[int]) -> st.SearchStrategy[int]:
    """One of the newest ids, sometimes one that nothing has."""
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


def grants(accounts: list[int], clock: datetime) -> st.SearchStrategy[administration.GiveGrant]:
    """Extra limit on an account."""
    return st.builds(
        lambda account, amount, until: administration.GiveGrant("", b"", account, amount, "a deadline", ACTOR, until),
        some(accounts), amounts, ends(clock),
    )  # fmt: skip


def asked_increases(accounts: list[int]) -> st.SearchStrategy[administration.AskIncrease]:
    """A request for more."""
    return st.builds(
        lambda account, amount: administration.AskIncrease("", b"", account, amount, "more", "key:agent"),
        some(accounts),
        amounts,
    )


def decisions(increases: list[int], clock: datetime) -> st.SearchStrategy[administration.DecideIncrease]:
    """What becomes of a request."""
    return st.builds(
        lambda number, approve, until: administration.DecideIncrease(
            "", b"", number, approve, ACTOR, None, until if approve else None
        ),
        some(increases), st.booleans(), ends(clock),
    )  # fmt: skip


removed_units = st.sampled_from(((),) * 6 + ((Unit.TOKENS,), (Unit.TOKENS,), (Unit.CALLS,), (Unit.COST,), tuple(Unit)))


def changed_budgets(budgets: list[int]) -> st.SearchStrategy[administration.ChangeBudget]:
    """A change of a budget."""
    return st.builds(
        lambda number, limit, enforcement, thresholds, removed, caps, other: administration.ChangeBudget(
            "", b"", number, limit, enforcement, thresholds, None, ACTOR, removed, caps, other
        ),
        some(budgets), st.one_of(st.none(), limits), st.sampled_from((None, None, *Enforcement)),
        st.sampled_from((None, (10, 50), (50, 75, 90), ())), removed_units,
        st.sampled_from(((), (), (), tuple(Unit), (Unit.TOKENS,))),
        st.one_of(st.none(), st.none(), overrides(("user",)), overrides(("agent_type",)), overrides(("cost_center",))),
    )  # fmt: skip


def rebalances(runs: list[int]) -> st.SearchStrategy[Rebalance]:
    """A new allocation of a run."""
    shares = st.lists(st.sampled_from((*AGENT_TYPES, "newcomer")), min_size=1, max_size=3, unique=True)
    return st.builds(
        lambda run, names, weights, minimum: Rebalance(
            "", b"", run,
            tuple(Share(name, weight, minimum) for name, weight in zip(names, weights, strict=False)),
        ),
        some(runs), shares, st.lists(st.integers(1, 9), min_size=3, max_size=3), st.sampled_from((0, 0, 50, 4_000)),
    )  # fmt: skip


def changed_runs(runs: list[int]) -> st.SearchStrategy[administration.ChangeRun]:
    """Other limits for a run."""
    return st.builds(
        lambda run, limit, iterations, removed, ends: administration.ChangeRun(
            "", b"", run, limit, iterations, "why not", ACTOR, removed, ends and iterations is None
        ),
        some(runs), limits, st.sampled_from((None, 0, 1, 5)), removed_units, st.booleans(),
    )  # fmt: skip


def steps(runs: list[int]) -> st.SearchStrategy[Step]:
    """Another iteration."""
    return some(runs).map(lambda run: Step("", b"", run, None))


def extensions(holds: list[int]) -> st.SearchStrategy[Extend]:
    """More time for a hold."""
    return st.builds(
        lambda hold, ttl: Extend("", b"", hold, ttl), some(holds), st.sampled_from((1, 300, 3_600, 86_400))
    )


def forced_releases(holds: list[int]) -> st.SearchStrategy[administration.ForceRelease]:
    """The end of a hold whose client is believed dead."""
    return some(holds).map(lambda hold: administration.ForceRelease("", b"", hold, "dead", ACTOR))


def tended(accounts: list[int]) -> st.SearchStrategy[TendAccounts]:
    """What the worker asks for."""
    return st.just(TendAccounts(tuple(accounts[-40:])))


def set_users(clock: datetime) -> st.SearchStrategy[administration.SetUsers]:
    """Cost centers of a user: the second from some instant on, or that one alone, or none."""
    dated = st.sampled_from((-86_400, 0, 3_600, 86_400)).map(lambda seconds: clock + timedelta(seconds=seconds))

    def build(name: str, since: datetime, given: slice) -> administration.SetUsers:
        cost_centers: tuple[tuple[datetime | None, str], ...] = ((None, "lab"), (since, "research"), (since, "ops"))
        return administration.SetUsers("", b"", (User(name, cost_centers[given]),), ACTOR)

    return st.builds(build, st.sampled_from(USERS), dated, st.sampled_from((slice(0, 2), slice(2, 3), slice(0, 0))))


def set_calendars(clock: datetime) -> st.SearchStrategy[administration.SetCalendar]:
    """A change of the calendar: in time, too soon, or too late."""
    rules = st.builds(
        CalendarRule,
        st.sampled_from(("America/New_York", "Asia/Kathmandu", "Pacific/Auckland")).map(ZoneInfo),
        st.sampled_from((0, 6)), st.sampled_from((1, 4)),
    )  # fmt: skip
    at = st.sampled_from((None, 60, 3_600, 86_400, 800 * 86_400)).map(
        lambda seconds: None if seconds is None else clock + timedelta(seconds=seconds)
    )
    return st.builds(lambda rule, instant: administration.SetCalendar("", b"", rule, ACTOR, instant), rules, at)


names_of_models = st.sampled_from((*MODELS, "large", "renamed", "of-two")).map(lambda name: ModelName(PROVIDER, name))
renamings = st.builds(
    lambda asked, becomes: administration.RenameModel("", b"", asked, becomes, "one model", ACTOR),
    names_of_models,
    names_of_models,
)
"""Another name for a model, sometimes that of another model."""

STOP = administration.StopTenant("", b"", "runaway", ACTOR)
RESUME = administration.StopTenant("", b"", None, ACTOR)
