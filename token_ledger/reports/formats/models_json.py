"""Answers of the report that compares models."""

from typing import Annotated

from token_ledger.core.model.money import divided, format_money
from token_ledger.reports.formats.measured_json import (
    NextRow,
    SpanAnswer,
    TimesAnswer,
    next_row,
    page_answer,
    ratio,
    times_answer,
)
from token_ledger.reports.models import ModelFigures, Models
from token_ledger.wire.fields import answer, doc, example_of
from token_ledger.wire.token_kinds import SumsAnswer, sums_answer

_FIRST_TOKEN = {"measured": 940, "p50_ms": 310, "p95_ms": 890}


@answer
class ModelFiguresAnswer(SumsAnswer):
    """What calls used and cost, and what was measured of them. Shares are parts of 1, to four digits."""

    failed_calls: Annotated[int, doc("How many of the calls failed.", 18)]
    failed_share: Annotated[float | None, doc("Their share of the calls; null where there are none.", 0.015)]
    latency: Annotated[TimesAnswer, doc("From the start of calls to their end.", example_of(TimesAnswer))]
    first_token: Annotated[TimesAnswer, doc("From the start of calls to the first token.", _FIRST_TOKEN)]
    output_tokens_per_second: Annotated[
        float | None,
        doc(
            "Output tokens of the calls that have both times, over the time from their first token to their end; null "
            "where none has both.",
            84.6,
        ),
    ]
    cost_per_call: Annotated[
        str | None, doc("Cost divided by calls, in dollars; null where there are none.", "0.006900000")
    ]
    cache_share: Annotated[
        float | None, doc("Share of the input tokens that were read from a cache; null of no input.", 0.8678)
    ]


@answer
class ModelRowAnswer(ModelFiguresAnswer):
    """The calls of a model."""

    provider: Annotated[str | None, doc("The provider; null for tools that used no model.", "openai")]
    model: Annotated[str | None, doc("The model, by its name in the books; null likewise.", "gpt-5.4")]


@answer
class ModelReport(SpanAnswer):
    """Models compared."""

    rows: Annotated[list[ModelRowAnswer], doc("A row per model, in the order asked for.", [example_of(ModelRowAnswer)])]
    next: NextRow
    total: Annotated[ModelFiguresAnswer, doc("The same of all calls.", example_of(ModelFiguresAnswer))]


def model_report(models: Models) -> ModelReport:
    """Return a comparison of models."""
    return {
        **page_answer(models.page),
        "rows": [
            {"provider": provider, "model": model, **_figures(figures)} for (provider, model), figures in models.rows
        ],
        "next": next_row(models.page),
        "total": _figures(models.total),
    }


def _figures(figures: ModelFigures) -> ModelFiguresAnswer:
    sums = figures.sums
    return {
        **sums_answer(sums),
        "failed_calls": figures.failed_calls,
        "failed_share": ratio(figures.failed_calls, sums.calls),
        "latency": times_answer(figures.latency),
        "first_token": times_answer(figures.first_token),
        "output_tokens_per_second": ratio(figures.written_tokens * 1_000, figures.writing_ms, 1),
        "cost_per_call": format_money(divided(sums.cost_nanos, sums.calls)) if sums.calls > 0 else None,
        "cache_share": ratio(sums.cache_read_tokens, sums.input_tokens),
    }
