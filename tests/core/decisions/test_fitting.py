"""What a denial says would still fit does fit, and one token more does not; compared with trying every output limit."""

from dataclasses import fields, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from tests.core.given import NOW, Ledger, budget, record, reserve
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Lease, Reserve
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Denied, Granted
from token_ledger.core.decisions.admission import reserve as decide_reserve
from token_ledger.core.model.budget import Counts, Enforcement, Limits
from token_ledger.core.model.hold_cost import CacheWrite
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import ModelName, ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import Usage

MODELS = ("large", "middle", "small", "unpriced")

# Dollars per million tokens: thousands of a nano-dollar a token, so that costs of small calls are rounded.
rate = st.sampled_from(("0", "0.0003", "0.0005", "0.001", "0.0015", "0.002", "0.01", "0.0255", "0.1"))
prices = st.lists(st.tuples(*(rate,) * 6), min_size=3, max_size=3)
limits = st.builds(
    Limits, st.none() | st.integers(10, 90), st.none() | st.integers(50, 3_000), st.none() | st.integers(1, 9)
)
budgets = st.lists(
    st.tuples(
        st.sampled_from(
            (
                (), (("user", "*"),), (("model", "*"),), (("agent_type", "planner"),),
                *((("model", model),) for model in MODELS[:3] * 2),
            )
        ),
        limits, st.sampled_from((Enforcement.HARD, *Enforcement)), st.sampled_from(Counts),
    ), min_size=1, max_size=3,
)  # fmt: skip
steps = st.lists(
    st.builds(
        Downgrade, st.just("acme"), st.sampled_from(("large", "large", "large", "middle")), st.just("acme"),
        st.sampled_from((*MODELS, *MODELS[1:3] * 2)), st.sampled_from(((), ("json",), ("json", "tools"))),
        st.integers(1, 90),
    ), min_size=1, max_size=3,
).map(tuple)  # fmt: skip
triggers = st.lists(
    st.builds(
        Trigger, st.just(7), st.sampled_from((*(TriggerKind.HIGH_COST,) * 3, TriggerKind.HIGH_TOKEN_USAGE)),
        st.sampled_from((1, 50, 100)), st.sampled_from((*Mode, *(Mode.APPLY,) * 3)), st.none() | st.integers(1, 90),
        st.none() | st.integers(1, 3_000), steps,
    ), max_size=2,
)  # fmt: skip
calls = st.fixed_dictionaries(
    {
        "model": st.sampled_from(("large", "large", "large", "middle")), "input_tokens": st.integers(0, 10),
        "cached_input_tokens": st.sampled_from((0, 5)), "max_output_tokens": st.integers(30, 80),
        "cache_write": st.sampled_from((None, None, *CacheWrite)), "requires": st.sampled_from(((), (), ("json",))),
        "apply": st.sampled_from(((), ("model_downgrade",))),
        "max_usage": st.sampled_from(((), (), (("web_searches", 2),), (("audio_output_tokens", 9), ("images", 1)))),
        "service_tier": st.sampled_from((None, None, "flex")),
    }
)  # fmt: skip


RENAMED: tuple[dict[str, str], ...] = (
    {},
    {},
    {"large": "small"},
    {"large": "middle"},
    {"middle": "small"},
    {"large": "new", "middle": "new"},
)
"""Names in the books: renamed models share one, and each keeps its price."""


def price_book(rows: list[tuple[str, ...]]) -> PriceBook:
    """Every model has a price for searches and audio, and all but the third a way of serving for half of the rest.

    The second has a marginal tier.
    """
    entries = []
    for number, row in enumerate(rows, 1):
        rates = Rates(*(rate_attos(Decimal(value)) for value in row))
        others = {"web_searches": number * 10**14, "audio_output_tokens": number * 10**16}
        flex = Price(number, Rates(*(rate // 2 for rate in rates)), others=others)
        tiers = ((2, Rates(*(2 * rate for rate in rates))),) if number == 2 else ()
        entries.append(
            Price(
                number, rates, tiers, others=others, service_tiers={"flex": (flex,)} if number < 3 else {},
                tiers_are_marginal=True,
            )
        )  # fmt: skip
    names = [("acme", model) for model in MODELS]
    known = {name: ModelPrices(*name, (price,)) for name, price in zip(names, entries, strict=False)}
    return PriceBook(known, lambda *_: None)


def admits(books: Books, command: Reserve, output: int) -> bool:
    """Try an output limit on a copy of the books."""
    return isinstance(decide_reserve(books.scratch(), replace(command, max_output_tokens=output)), Granted)


@given(
    prices, budgets, triggers, calls, st.integers(0, 40), st.integers(0, 2), st.sampled_from((None, None, 1, 7)),
    st.sampled_from(RENAMED),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_what_fits_is_admitted_and_one_token_more_is_not(
    rows: Any,
    limited: Any,
    fired: list[Trigger],
    call: dict[str, Any],
    used: int,
    holds: int,
    lent: int | None,
    renamed: dict[str, str],
) -> None:
    call["cached_input_tokens"] = min(call["cached_input_tokens"], call["input_tokens"])
    ledger = Ledger(
        *(
            budget(tokens=limit.tokens, nanos=limit.nanos, calls=limit.calls, budget_id=80 + number, name=f"b{number}",
                   selector=selector, enforcement=enforcement, counts=counts)
            for number, (selector, limit, enforcement, counts) in enumerate(limited)
        ), triggers=tuple(fired),
    )  # fmt: skip
    names = {("acme", model): ModelName("acme", name) for model, name in renamed.items()}
    ledger.books = Books(replace(ledger.books.config, renamed=names), price_book(rows), 1, NOW, Loaded())
    if used:
        ledger.one(record(usage=Usage(used, 0), model="small"))
    for number in range(holds):
        ledger.one(lease(key=f"h{number}", input_tokens=3, max_output_tokens=2, calls=2))
    command = lease(**call, calls=lent) if lent else reserve(**call)
    before = ledger.books.scratch()
    accounts, entries = len(ledger.books.writes.new_accounts), len(ledger.books.writes.limit_entries)
    outcome = ledger.one(command)
    assume(isinstance(outcome, Denied))
    assert isinstance(outcome, Denied)
    known = [limit for limit in range(1, command.max_output_tokens) if admits(before, command, limit)]
    fits = outcome.denial.fits_output_tokens
    event(f"{outcome.denial.code}: {'nothing' if fits is None else 'something'} fits")
    if any(larger - smaller != 1 for smaller, larger in pairwise([0, *known])):
        event("a smaller limit does not fit")
    assert fits == max(known, default=None)
    opened = ledger.books.writes.new_accounts[accounts:]
    assert len(opened) == len(ledger.books.writes.limit_entries) - entries
    asked = renamed.get(command.model, command.model)
    named = {account.subject.get("model") for account in opened} - {None, asked}
    assert named <= {outcome.denial.facts.model}, "opened an account of a model that was only tried"


def lease(*, calls: int, **asked: Any) -> Lease:
    command = reserve(**{"key": "lease"} | asked)
    return Lease(**{field.name: getattr(command, field.name) for field in fields(command)}, calls=calls)
