"""Commands of the simulated callers: few users, models and budgets, so that calls interact; amounts near the limits."""

from dataclasses import fields, replace
from functools import lru_cache
from typing import TypeVar

from hypothesis import strategies as st

from tests.simulation.price_list import COUNTED, MODELS, OTHER_KINDS, PROVIDER, SERVICE_TIERS, UNPRICED
from token_ledger.core.batch import commands
from token_ledger.core.batch.administration import ArchiveBudget, CreateBudget, ReplaceBudget, SetTrigger
from token_ledger.core.batch.idempotency import KeyedCommand, fingerprint
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Counts, Enforcement, Limits, Overrides, Unassigned
from token_ledger.core.model.details import Details, Kind
from token_ledger.core.model.hold_cost import CacheWrite
from token_ledger.core.model.run import RunState
from token_ledger.core.model.selector import Selector, Wanted
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

USERS = ("ada", "bob", "zoë")
AGENT_TYPES = ("data_agent", "planner", "writer")
TAGS: tuple[tuple[tuple[str, str], ...], ...] = ((), (("team", "red"),), (("stage", "prod"), ("team", "blue")))
DOWNGRADES = (
    Downgrade(PROVIDER, "large", PROVIDER, "small", ("json",), 2_500),
    Downgrade(PROVIDER, "large", PROVIDER, "changed", ("json", "tools"), 100_000),
    Downgrade(PROVIDER, "tiered", PROVIDER, "large", ("json",), 100_000),
    Downgrade(PROVIDER, "changed", PROVIDER, "future", ("json",), 100_000),
)

tokens = st.one_of(st.sampled_from((0, 1, 500, 999, 1_000, 1_001)), st.integers(0, 3_000))
models = st.sampled_from(("large",) * 6 + MODELS * 4 + UNPRICED)
tags = st.sampled_from(TAGS)


Keyed = TypeVar("Keyed", bound=KeyedCommand)

remembered = lru_cache(1_000)
"""For a strategy that rules ask for again and again: Hypothesis checks each new one before it draws from it."""


def sealed(command: Keyed) -> Keyed:
    """Return a command with the fingerprint of its own body, as the API makes it."""
    return replace(command, fingerprint=fingerprint(repr(replace(command, key="", fingerprint=b"")).encode()))


def counted(searches: int, images: int) -> tuple[tuple[str, int], ...]:
    """So much of the kinds that are counted."""
    return tuple((kind, count) for kind, count in zip(COUNTED, (searches, images), strict=True) if count)


usages = st.builds(
    Usage,
    tokens,
    tokens,
    others=st.builds(counted, st.sampled_from((0, 0, 1, 7)), st.sampled_from((0, 0, 3))),
    cache_read_tokens=st.sampled_from((0, 0, 100, 800, 2_000)),
    cache_write_5m_tokens=st.sampled_from((0, 0, 50, 700)),
    cache_write_1h_tokens=st.sampled_from((0, 0, 60, 600)),
    reasoning_tokens=st.sampled_from((0, 0, 10, 1_500)),
)


announced = st.one_of(
    st.just(()), st.just(()),
    st.tuples(*(st.sampled_from((0, 0, 1, 7, 333)) for _ in OTHER_KINDS)).map(
        lambda counts: tuple((kind, count) for kind, count in zip(OTHER_KINDS, counts, strict=True) if count)
    ),
)  # fmt: skip
"""The most of other kinds that calls say they may use."""

reported = st.one_of(usages, st.just(Usage(1_000, 500)), st.just(Usage(1_000, 500)))
"""What calls used: many the same, so that responses are reported twice."""

responses = st.sampled_from((None, None, "resp_1", "resp_1", "resp_2", "resp_3", ""))


@remembered
def maybe(runs: tuple[int, ...]) -> st.SearchStrategy[int | None]:
    """A run, or none."""
    return st.one_of(st.none(), st.sampled_from(runs)) if runs else st.none()


@remembered
@st.composite
def reserves(draw: st.DrawFn, runs: tuple[int, ...]) -> commands.Reserve:
    """Ask for a hold, in a run where there is one."""
    run_id = draw(maybe(runs))
    input_tokens = draw(tokens)
    return commands.Reserve(
        "", b"", draw(st.sampled_from(AGENT_TYPES)), draw(st.sampled_from((PROVIDER,) * 19 + ("unheard-of",))),
        draw(models), input_tokens, draw(tokens), run_id=run_id,
        user=None if run_id else draw(st.sampled_from(USERS)),
        cost_center=None if run_id else draw(st.sampled_from((None, "research"))),
        request_type=draw(st.sampled_from(("chat", "report"))),
        cached_input_tokens=min(input_tokens, draw(st.sampled_from((0, 0, 400, 5_000)))),
        cache_write=draw(st.sampled_from((None, None, *CacheWrite))),
        ttl_seconds=draw(st.sampled_from((300, 86_400, 60, 1))),
        tool=draw(st.sampled_from((None, None, "search"))),
        requires=draw(st.sampled_from(((), (), (), ("json",), ("tools",), ("vision",)))),
        tags=draw(tags),
        apply=draw(st.sampled_from(((), (), ("model_downgrade",), ("aggressive_compression", "model_downgrade")))),
        max_usage=draw(announced), service_tier=draw(st.sampled_from((None, None, None, *SERVICE_TIERS))),
    )  # fmt: skip


@remembered
def leases(runs: tuple[int, ...]) -> st.SearchStrategy[commands.Lease]:
    """Ask for a lease."""
    return st.builds(
        lambda reserve, calls: commands.Lease(
            **{f.name: getattr(reserve, f.name) for f in fields(reserve)}, calls=calls
        ),
        reserves(runs),
        st.sampled_from((1, 2, 3, 10, 40)),
    )


@remembered
def preflights(runs: tuple[int, ...]) -> st.SearchStrategy[commands.Preflight]:
    """Ask whether some calls would fit."""
    planned = st.tuples(reserves(runs), st.sampled_from((1, 2, 5)))
    return st.lists(planned, min_size=1, max_size=3).map(lambda calls: commands.Preflight(tuple(calls)))


@remembered
@st.composite
def records(draw: st.DrawFn, runs: tuple[int, ...]) -> commands.Record:
    """Report a call that had no hold, of a model or of a tool, or an answer from a cache."""
    run_id = draw(maybe(runs))
    command = commands.Record(
        "", b"", draw(st.sampled_from(("collector", "batch"))), draw(st.sampled_from(AGENT_TYPES)),
        PROVIDER, draw(models), draw(reported), run_id=run_id, response_id=draw(responses),
        user=None if run_id else draw(st.sampled_from(USERS)),
        request_type=draw(st.sampled_from(("chat", "report"))),
        failed=draw(st.booleans()), estimated=draw(st.booleans()),
        tool=draw(st.sampled_from((None, "search"))), tags=draw(tags), event_kind=draw(kinds),
    )  # fmt: skip
    if command.event_kind is None or command.event_kind is Kind.OTHER_MODEL:
        return command
    command = replace(command, response_id=None, details=draw(st.sampled_from((None, Details(latency_ms=5)))))
    if command.event_kind is Kind.TOOL_CALL:
        command = replace(command, cost_nanos=draw(st.sampled_from((None, 0, 7_000_000))), tool="search")
        if command.cost_nanos is not None and draw(st.booleans()):
            return replace(command, provider="", model="", usage=Usage())
    return command


kinds = st.sampled_from((None, None, None, *Kind))


@remembered
def other_models(number: int) -> st.SearchStrategy[tuple[commands.OtherModel, ...]]:
    """So many other models within a call."""
    one = st.builds(commands.OtherModel, st.sampled_from((None, PROVIDER)), models, reported)
    return st.tuples(*[one] * number)


@remembered
def settles(reservation_id: int) -> st.SearchStrategy[commands.Settle]:
    """Report what the call of a hold used."""
    return st.builds(
        commands.Settle, st.just(""), st.just(b""), st.just(reservation_id), reported,
        model=st.sampled_from((None, None, None, *MODELS, *UNPRICED)),
        failed=st.booleans(), estimated=st.booleans(),
        response_id=responses, original_input_tokens=st.sampled_from((None, 4_000)),
        part=st.sampled_from((False, False, True)), tool=st.sampled_from((None, None, "search")),
        other_models=st.sampled_from((0, 0, 0, 1, 2)).flatmap(other_models),
    )  # fmt: skip


limits = st.builds(
    Limits,
    st.one_of(st.none(), st.sampled_from((0, 1, 500, 1_000, 1_499, 1_500, 2_000)), st.integers(0, 30_000)),
    st.one_of(st.none(), st.integers(0, 150_000_000)),
    st.one_of(st.none(), st.integers(0, 20)),
)


@remembered
@st.composite
def opened_runs(draw: st.DrawFn, parents: tuple[int, ...] = ()) -> commands.OpenRun:
    """Start a run or sub-run, sometimes with an allocation that does not fit."""
    weights = draw(st.lists(st.integers(1, 9), max_size=3))
    minimums = st.sampled_from((0, 0, 100, 2_500))
    shares = tuple(Share(name, weight, draw(minimums)) for name, weight in zip(AGENT_TYPES, weights, strict=False))
    own = draw(limits)
    if shares and own.tokens is None and draw(st.integers(0, 5)):
        own = replace(own, tokens=draw(st.integers(2_000, 20_000)))
    parent = draw(st.sampled_from((*parents[-3:], *parents[-1:], None))) if parents else None
    return commands.OpenRun(
        "", b"", None if parent else draw(st.sampled_from(USERS)),
        None if parent else draw(st.sampled_from((None, "research"))),
        draw(st.sampled_from((None, "thread-1"))), own, draw(st.sampled_from((None, None, 0, 2))), shares,
        draw(st.sampled_from((False, False, True))), parent, draw(st.booleans()),
    )  # fmt: skip


def selector(dimension: str, *values: Wanted) -> st.SearchStrategy[Selector]:
    """A selector of one dimension, with `*`, a value, a list of values or a prefix."""
    return st.sampled_from(("*", "*", *values)).map(lambda value: ((dimension, value),))


selectors = st.lists(
    st.one_of(
        selector("user", *USERS, ("ada", "bob"), "a*"), selector("agent_type", *AGENT_TYPES, ("planner", "writer")),
        selector("model", "large", "small", "s*", ("large", "small")), selector("provider", PROVIDER),
        selector("cost_center", "research"), selector("request_type", "report"), selector("tool", "search"),
        selector("run"), selector("tag.team", "red"),
    ), max_size=2,
).map(lambda parts: tuple(sorted(dict(pair for part in parts for pair in part).items())))  # fmt: skip

NAMED = {
    "user": USERS, "agent_type": AGENT_TYPES, "model": ("large", "small"), "provider": (PROVIDER,), "run": ("1",),
    "cost_center": ("research", "unassigned"), "request_type": ("chat", "report"), "tool": ("search",),
    "tag.team": ("red", "blue"),
}  # fmt: skip


@st.composite
def overrides(draw: st.DrawFn, dimensions: tuple[str, ...]) -> Overrides:
    """Other limits for one or two subjects of these dimensions, or of a user where that is none."""
    found = []
    for amounts in draw(st.sampled_from(((), (), (Limits(),), (Limits(1_500, None, 2),), (Limits(9_000), Limits())))):
        values = {dimension: draw(st.sampled_from(NAMED[dimension])) for dimension in dimensions or ("user",)}
        found.append((Subject(values), amounts))
    return tuple(sorted(found, key=lambda named: named[0].text))


@st.composite
def _created_budgets(draw: st.DrawFn) -> CreateBudget:
    chosen = draw(selectors)
    stars = tuple(dimension for dimension, wanted in chosen if wanted == "*")
    per_user = Unassigned.PER_USER if "cost_center" in stars and draw(st.booleans()) else Unassigned.SHARED
    return CreateBudget(
        "", b"", draw(st.sampled_from(("daily", "monthly", "guard", "cap", "chat"))), chosen,
        draw(limits.filter(lambda limit: limit != Limits())),
        draw(st.sampled_from((*Window, Window.HOUR, Window.DAY))),
        draw(st.sampled_from((Enforcement.HARD, Enforcement.HARD, Enforcement.SOFT, Enforcement.SHADOW))),
        draw(st.sampled_from(Counts)), draw(st.sampled_from(((50, 75, 90, 100), (10, 200), ()))),
        draw(st.sampled_from((None, None, Limits(1_500, None, 3), Limits(None, 10**8, None)))),
        overrides=draw(overrides(stars)) if stars or not draw(st.integers(0, 9)) else (),
        unassigned=per_user if draw(st.integers(0, 19)) else Unassigned.PER_USER,
    )  # fmt: skip


created_budgets = _created_budgets()


def replaced_budgets(budget_id: int) -> st.SearchStrategy[ReplaceBudget]:
    """Replace a budget, sometimes under the name of a third."""
    return created_budgets.map(
        lambda command: ReplaceBudget(
            **{f.name: getattr(command, f.name) for f in fields(command)}, replaced_id=budget_id
        )
    )


set_triggers = st.builds(
    SetTrigger,
    st.just(""),
    st.just(b""),
    st.sampled_from((TriggerKind.HIGH_COST, TriggerKind.HIGH_COST, TriggerKind.HIGH_TOKEN_USAGE)),
    st.sampled_from((1, 1, 50, 80, 100)),
    st.sampled_from((Mode.APPLY, Mode.APPLY, Mode.OBSERVE, Mode.OFF)),
    st.sampled_from((None, 1_000)),
    st.sampled_from((None, 1_000_000, 2_000_000)),
    st.permutations(DOWNGRADES).map(tuple),
)

NOTHING = 7
"""An id that nothing has: ids begin at 65,536."""

about_nothing = st.one_of(
    settles(NOTHING),
    st.just(commands.Release("", b"", NOTHING, "not sent")),
    reserves(()).map(lambda command: replace(command, run_id=NOTHING, user=None, cost_center=None)),
    records(()).map(lambda command: replace(command, run_id=NOTHING, user=None)),
    st.just(commands.EndRun("", b"", NOTHING, RunState.CLOSED)),
    st.just(ArchiveBudget("", b"", NOTHING)),
    replaced_budgets(NOTHING),
)
"""Commands about something that does not exist."""

LADDER: tuple[commands.Command, ...] = (
    CreateBudget("", b"", "per model", (("model", "*"),), Limits(40_000, 10**9), Window.TOTAL),
    SetTrigger("", b"", TriggerKind.HIGH_COST, 50, Mode.APPLY, None, 1_000_000, DOWNGRADES),
)
"""Calls are downgraded, from one account to another."""

setups = st.builds(
    lambda ladder, *others: [*ladder, *(command for each in others for command in each)],
    st.sampled_from(((), LADDER)),
    st.lists(created_budgets, max_size=3),
    st.lists(set_triggers, max_size=1),
    st.lists(opened_runs(), max_size=2),
    st.lists(about_nothing, max_size=2),
)
"""What a tenant may begin with."""
