"""Answers of reports and of the live stream."""

from collections.abc import Iterable
from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.model.details import Kind
from token_ledger.core.model.money import format_money
from token_ledger.core.model.repetition import Repetition
from token_ledger.reports.denials import AccountDenials, WouldHaveDenied
from token_ledger.reports.kinds import UsedKinds
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.reports.other_kinds import KindUse
from token_ledger.reports.run_usage import RunUsage
from token_ledger.reports.sums import SumRow
from token_ledger.reports.triggers import TriggerFirings
from token_ledger.wire.answers.reservations import (
    Booked,
    EarlierEvent,
    FoundRepetition,
    ListCost,
    PriceEntry,
    found_repetition,
)
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_id
from token_ledger.wire.token_kinds import SumsAnswer, sums_answer


@answer
class SumRowAnswer(SumsAnswer):
    """Calls, tokens and cost of one value of a dimension."""

    key: Annotated[str, doc("The value of the dimension.", "ada")]


def _rows(rows: Iterable[SumRow]) -> list[SumRowAnswer]:
    return [{"key": row.key, **sums_answer(row.sums)} for row in rows]


@answer
class KindUseAnswer(TypedDict):
    """How many of a kind were used, and what they cost."""

    kind: Annotated[str, doc("The kind, by its name in `usage`.", "web_searches")]
    count: Annotated[int, doc("How many.", 12)]
    cost: Annotated[str, doc("Their cost in dollars, which is part of the spend.", "0.120000000")]
    unpriced: Annotated[
        int, doc("How many of them had no price, and so cost what was assumed for them, or nothing.", 0)
    ]


def kind_use_answer(use: KindUse) -> KindUseAnswer:
    """Return what was used of a kind."""
    return {"kind": use.kind, "count": use.count, "cost": format_money(use.nanos), "unpriced": use.unpriced}


@answer
class KindRowAnswer(KindUseAnswer):
    """What one value of the dimension used of a kind."""

    key: Annotated[str | None, doc("The value of the dimension; null for calls that have none.", "ada")]


KindReport = TypedDict(
    "KindReport",
    {
        "group_by": Annotated[str, doc("The dimension of the rows.", "user")],
        "from": Annotated[InstantText, doc("Start of the span, included.", "2026-11-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the span, excluded.", "2026-12-01T00:00:00+00:00")],
        "rows": Annotated[
            list[KindRowAnswer], doc("A row per value and kind, dearest first.", [example_of(KindRowAnswer)])
        ],
    },
)
KindReport.__doc__ = "What was used of the kinds that few calls have, by one dimension."


def kind_report(used: UsedKinds) -> KindReport:
    """Return what was used of other kinds in a span, by one dimension."""
    return {
        "group_by": used.group_by.name,
        "from": instant(used.since),
        "to": instant(used.until),
        "rows": [{"key": row.key, **kind_use_answer(row.use)} for row in used.rows],
    }


@answer
class RunUsageReport(TypedDict):
    """What a run used."""

    run_id: Annotated[str, doc("The run.", "68288512")]
    by_agent_type: Annotated[
        list[SumRowAnswer],
        doc("A row per agent type, dearest first.", [{**example_of(SumRowAnswer), "key": "data_agent"}]),
    ]
    by_tool: Annotated[
        list[SumRowAnswer], doc("A row per tool, dearest first.", [{**example_of(SumRowAnswer), "key": "search"}])
    ]
    by_model: Annotated[
        list[SumRowAnswer], doc("A row per model, dearest first.", [{**example_of(SumRowAnswer), "key": "gpt-5.4"}])
    ]
    total: Annotated[SumsAnswer, doc("The sum of all calls.", example_of(SumsAnswer))]


def run_usage_report(usage: RunUsage) -> RunUsageReport:
    """Return what a run used, by dimension and in total."""
    return {
        "run_id": str(usage.run_id),
        "by_agent_type": _rows(usage.by_agent_type),
        "by_tool": _rows(usage.by_tool),
        "by_model": _rows(usage.by_model),
        "total": sums_answer(usage.total),
    }


@answer
class DenialRow(TypedDict):
    """How often an account had too little left."""

    budget: Annotated[str, doc("Name of the account's budget.", "user day")]
    subject: Annotated[dict[str, str], doc("The values that the account stands for.", {"user": "ada"})]
    unit: Annotated[str, doc("The unit that was short.", "tokens")]
    enforcement: Annotated[str, doc("`hard` denied the calls; `soft` and `shadow` did not.", "hard")]
    denials: Annotated[int, doc("How often.", 12)]
    calls: Annotated[int, doc("How many calls: a lease may ask for several at once.", 12)]
    last_at: Annotated[InstantText, doc("When it last happened.", "2026-11-21T09:30:00+00:00")]


@answer
class DenialReport(TypedDict):
    """Denials by account."""

    rows: Annotated[
        list[DenialRow], doc("A row per account and unit, most often first; at most 1,000.", [example_of(DenialRow)])
    ]


def denial_report(rows: Iterable[AccountDenials]) -> DenialReport:
    """Return how often accounts had too little left."""
    return {
        "rows": [
            {
                "budget": row.budget,
                "subject": dict(row.subject),
                "unit": row.unit,
                "enforcement": row.enforcement,
                "denials": row.denials,
                "calls": row.calls,
                "last_at": instant(row.last_at),
            }
            for row in rows
        ]
    }


@answer
class WouldHaveDeniedRow(TypedDict):
    """What an account of a soft or shadow budget would have denied."""

    budget: Annotated[str, doc("Name of the account's budget.", "user day")]
    subject: Annotated[dict[str, str], doc("The values that the account stands for.", {"user": "ada"})]
    enforcement: Annotated[str, doc("`soft` or `shadow`.", "shadow")]
    calls: Annotated[int, doc("How many calls it would have denied.", 12)]
    tokens: Annotated[int, doc("The most tokens that those calls could use.", 20_400)]
    first_at: Annotated[InstantText, doc("When it first happened.", "2026-11-20T14:02:00+00:00")]
    last_at: Annotated[InstantText, doc("When it last happened.", "2026-11-21T09:30:00+00:00")]


@answer
class WouldHaveDeniedReport(TypedDict):
    """What soft and shadow budgets would have denied."""

    rows: Annotated[
        list[WouldHaveDeniedRow],
        doc("A row per account, most calls first; at most 1,000.", [example_of(WouldHaveDeniedRow)]),
    ]


def would_have_denied_report(rows: Iterable[WouldHaveDenied]) -> WouldHaveDeniedReport:
    """Return what soft and shadow budgets would have denied."""
    return {
        "rows": [
            {
                "budget": row.budget,
                "subject": dict(row.subject),
                "enforcement": row.enforcement,
                "calls": row.calls,
                "tokens": row.tokens,
                "first_at": instant(row.first_at),
                "last_at": instant(row.last_at),
            }
            for row in rows
        ]
    }


@answer
class FiringRow(TypedDict):
    """How often a trigger fired."""

    trigger: Annotated[str, doc("Kind of the trigger.", "high_cost")]
    technique: Annotated[str, doc("What it proposed.", "model_downgrade")]
    applied: Annotated[bool, doc("True if the technique was applied to the calls.", True)]
    firings: Annotated[int, doc("How often.", 31)]


@answer
class FiringReport(TypedDict):
    """How often triggers fired."""

    rows: Annotated[
        list[FiringRow], doc("A row per trigger, technique and whether it was applied.", [example_of(FiringRow)])
    ]


def firing_report(rows: Iterable[TriggerFirings]) -> FiringReport:
    """Return how often triggers fired."""
    return {
        "rows": [
            {"trigger": row.trigger, "technique": row.technique, "applied": row.applied, "firings": row.firings}
            for row in rows
        ]
    }


@answer
class LiveEventAnswer(TypedDict):
    """A booked call."""

    sequence: Annotated[int, doc("Sequence number of its batch; `after` continues a stream behind it.", 1_044)]
    event_id: Annotated[str, doc("The usage event; also the id of the server-sent event.", "68419584")]
    user: Annotated[str, doc("The user for whom it was made.", "ada")]
    agent_type: Annotated[str, doc("Kind of agent that made it.", "data_agent")]
    kind: Annotated[
        Literal["llm_call"] | Kind,
        doc("What it is: the call of a model, or of a tool, a cache hit, or another model within a call.", "llm_call"),
    ]
    model: Annotated[str, doc("The model; empty for a tool call that used none.", "gpt-5.4")]
    tool: Annotated[str | None, doc("The tool that was called, or that the call served.", "search")]
    tokens: Annotated[int, doc("Tokens, input and output.", 1_440)]
    cost: Annotated[str, doc("Cost in dollars, to the nano-dollar.", "0.006900000")]
    run_id: Annotated[str | None, doc("The run that it was part of.", "68288512")]
    corrects: Annotated[
        str | None, doc("The event that this one takes back: tokens and cost are negative. Null for a call.", None)
    ]
    recosts: Annotated[
        str | None, doc("The event that this one re-costs: it has no tokens, and what that costs more or less.", None)
    ]
    booked: Booked
    repetition: FoundRepetition
    earlier_event_id: EarlierEvent
    price_id: NotRequired[PriceEntry]
    list_cost: NotRequired[ListCost]


def live_event_answer(event: LiveEvent) -> LiveEventAnswer:
    """Return a booked call."""
    shown: LiveEventAnswer = {
        "sequence": event.event_id >> ORDINAL_BITS,
        "event_id": str(event.event_id),
        "user": event.user,
        "agent_type": event.agent_type,
        "kind": event.kind or "llm_call",
        "model": event.model,
        "tool": event.tool,
        "tokens": event.tokens,
        "cost": format_money(event.cost_nanos),
        "run_id": optional_id(event.run_id),
        "corrects": optional_id(event.corrects),
        "recosts": optional_id(event.recosts),
        "booked": event.repetition is not Repetition.DUPLICATE,
        "repetition": found_repetition(event.repetition),
        "earlier_event_id": optional_id(event.earlier_event_id),
    }
    if event.price_id:
        shown["price_id"] = str(event.price_id)
    if event.list_cost_nanos is not None:
        shown["list_cost"] = format_money(event.list_cost_nanos)
    return shown
