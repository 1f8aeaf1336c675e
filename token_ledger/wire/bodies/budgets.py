"""Bodies of budgets."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.selector import TAG_PREFIX, parse_selector
from token_ledger.wire.bodies.limits import LimitsBody
from token_ledger.wire.fields import Body, IdempotencyKey, Name, Names, doc


def _ascend(percents: tuple[int, ...]) -> tuple[int, ...]:
    if list(percents) != sorted(set(percents)):
        raise ValueError("list thresholds in ascending order, each once")
    return percents


def _clean_dimension(text: str) -> str:
    # The name of a tag may have all the characters that a name may have, besides the prefix.
    prefix, dot, tag = text.partition(".")
    return TAG_PREFIX + clean_name(tag) if f"{prefix.strip()}{dot}" == TAG_PREFIX and tag else clean_name(text)


Dimension = Annotated[StrictStr, AfterValidator(_clean_dimension)]


def _is_text(given: Any) -> Any:
    names = given if isinstance(given, list | tuple) else [given]
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None or given is None:
        raise ValueError(f"{wrong!r} is not text; give a name in quotes, or a list of such names")
    return given


def _is_selector(selector: dict[str, Any]) -> dict[str, Any]:
    parse_selector(selector)
    return selector


SelectorBody = Annotated[
    dict[Dimension, Annotated[StrictStr | tuple[StrictStr, ...], BeforeValidator(_is_text)]],
    Field(max_length=12),
    Names,
    AfterValidator(_is_selector),
]
"""What matches per dimension, as it was sent; `parse_selector` reads it."""

SubjectBody = Annotated[dict[Dimension, Name], Field(max_length=12), Names]
"""The values that an account stands for, per dimension."""

Thresholds = Annotated[
    tuple[Annotated[StrictInt, Field(ge=1, le=1_000)], ...], Field(max_length=16), AfterValidator(_ascend)
]
"""Percent of a limit."""
_THRESHOLDS = "Shares of a limit, in percent, at which an account reports what is settled; ascending."
_ENFORCEMENT = "`hard` denies a call that does not fit, `soft` warns, `shadow` only counts what it would have denied."
_ROLLOVER = "The most of what a window leaves that the next one gets in addition, per unit."
_OVERRIDES = 'Subjects that have other limits than the rest, for a budget with `"*"`; each at most once.'
_UNASSIGNED = "With `cost_center` of `*`: whether calls without a cost center share one account, or each user has one."
_OVERRIDE = {"subject": {"user": "ada"}, "limits": {"tokens": 100_000}}


class OverrideBody(Body):
    """Other limits for one subject of a budget."""

    subject: Annotated[SubjectBody, doc("One value for every `*` dimension.", {"user": "ada"})]
    limits: Annotated[
        LimitsBody | None,
        doc("All limits of the subject, in place of those of the budget; null for no limit.", {"tokens": 100_000}),
    ]


Overrides = Annotated[tuple[OverrideBody, ...], Field(max_length=1_000)]


class BudgetTerms(Body):
    """A limit for the calls that a selector chooses, per window."""

    name: Annotated[Name, doc("Name of the budget, unique in the tenant.", "user day")]
    selector: Annotated[
        SelectorBody,
        doc(
            "Which calls count, per dimension (`cost_center`, `user`, `agent_type`, `provider`, `model`, "
            "`request_type`, `tool`, `run`, `tag.<name>`): a name, a list of up to 100 names "
            "or a prefix such as `team-*`, whose calls "
            'share one account, or `"*"`, which gives every distinct value an account of its own.',
            {"user": "*"},
        ),
    ]
    limits: Annotated[LimitsBody, doc("Limits of every account per window.", {"tokens": 50_000, "cost": "5.00"})]
    window: Annotated[
        Literal["hour", "day", "week", "month", "quarter", "year", "run", "total"],
        doc("How long an account lasts, in the tenant's calendar, before a new one begins at zero.", "day"),
    ]
    enforcement: Annotated[Literal["hard", "soft", "shadow"], doc(_ENFORCEMENT, "hard")] = "hard"
    counts: Annotated[
        Literal["all", "uncached"],
        doc("Which tokens the token limit counts: all, or those not read from the provider's cache.", "all"),
    ] = "all"
    thresholds: Annotated[Thresholds, doc(_THRESHOLDS, [50, 75, 90, 100])] = (50, 75, 90, 100)
    rollover: Annotated[LimitsBody | None, doc(_ROLLOVER, {"tokens": 10_000})] = None
    overrides: Annotated[Overrides, doc(_OVERRIDES, [_OVERRIDE])] = ()
    unassigned: Annotated[Literal["shared", "per_user"], doc(_UNASSIGNED, "per_user")] = "shared"


class BudgetBody(BudgetTerms):
    """Create a budget."""

    idempotency_key: IdempotencyKey


class BudgetChangeBody(Body):
    """Change a budget. What is left out stays; null removes it, so that the budget is as if made without it."""

    idempotency_key: IdempotencyKey
    limits: Annotated[
        LimitsBody | None,
        doc(
            "New limits. A unit that is left out stays, null removes its limit; one limit has to stay.",
            {"tokens": 80_000},
        ),
    ] = None
    enforcement: Annotated[
        Literal["hard", "soft", "shadow"] | None, doc(f"{_ENFORCEMENT} Null for `hard`.", "soft")
    ] = None
    thresholds: Annotated[
        Thresholds | None, doc(f"{_THRESHOLDS} An empty list for none, null for the usual ones.", [80, 100])
    ] = None
    rollover: Annotated[
        LimitsBody | None,
        doc(
            f"{_ROLLOVER} A unit that is left out stays, null removes its cap; null for all ends rollover.",
            {"tokens": 10_000},
        ),
    ] = None
    overrides: Annotated[
        Overrides | None,
        doc(f"{_OVERRIDES} In place of all there are; an empty list or null removes them.", [_OVERRIDE]),
    ] = None
    unassigned: Annotated[
        Literal["shared", "per_user"] | None, doc(f"{_UNASSIGNED} Null for `shared`.", "per_user")
    ] = None
