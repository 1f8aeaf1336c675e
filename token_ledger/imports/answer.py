"""Turns the summary of an import into the answer that the API and the command line give."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.money import format_money
from token_ledger.imports.summary import Summary, Use, totals
from token_ledger.wire.fields import answer, doc, example_of


@answer
class UseAnswer(TypedDict):
    """What calls add up to."""

    calls: Annotated[int, doc("Calls.", 355)]
    input_tokens: Annotated[int, doc("Input tokens, those read from a cache included.", 35_293_595)]
    cache_read_tokens: Annotated[int, doc("Input tokens that were read from a cache.", 34_060_540)]
    output_tokens: Annotated[int, doc("Output tokens.", 1_681)]
    cost: Annotated[str, doc("Dollars, by the ledger's prices.", "29.315960000")]
    unpriced: Annotated[int, doc("How many events have no known price, or not for all that they used.", 0)]


@answer
class DayUseAnswer(UseAnswer):
    """What the calls of one day and model add up to."""

    day: Annotated[str, doc("The tenant's day.", "2026-02-14")]
    provider: Annotated[str, doc("The provider; empty for tools.", "anthropic")]
    model: Annotated[str, doc("The model, by its name in the books; empty for tools.", "claude-opus-4-5")]


@answer
class ImportAnswer(TypedDict):
    """What became of the rows of an import: `rows` is the sum of all counts."""

    dry_run: Annotated[bool, doc("Whether this is only what would be booked.", False)]
    rows: Annotated[int, doc("Rows that were read.", 2_162)]
    booked: Annotated[int, doc("Calls that were booked.", 969)]
    duplicates: Annotated[int, doc("Calls that were booked before.", 0)]
    corrected: Annotated[
        int, doc("Calls that were unfinished when they were imported before; `uses` has what they use more.", 0)
    ]
    quarantined: Annotated[
        dict[str, int], doc("Calls that were kept in quarantine, by code.", {"time_out_of_range": 1})
    ]
    refused: Annotated[dict[str, int], doc("Rows of which nothing could be kept, by code.", {"invalid_request": 1})]
    skipped: Annotated[dict[str, int], doc("Rows that are no calls of their own, by reason.", {"same call": 1_191})]
    examples: Annotated[
        dict[str, list[str]],
        doc(
            "Of each code some rows, with what is wrong.",
            {"invalid_request": ["calls.csv, line 87: provider: Field required"]},
        ),
    ]
    uses: Annotated[list[DayUseAnswer], doc("What was booked, by day and model.", [example_of(DayUseAnswer)])]
    total: Annotated[UseAnswer, doc("All of it.", example_of(UseAnswer))]
    stated_cost: Annotated[
        str | None, doc("What the files say that it costs, in dollars; null where they say nothing.", "29.41")
    ]


def import_answer(summary: Summary, *, dry_run: bool) -> ImportAnswer:
    """Return the summary of an import."""
    return {
        "dry_run": dry_run,
        "rows": summary.rows,
        "booked": summary.booked,
        "duplicates": summary.duplicates,
        "corrected": summary.corrected,
        "quarantined": dict(summary.quarantined),
        "refused": dict(summary.refused),
        "skipped": {reason.value: count for reason, count in summary.skipped.items()},
        "examples": summary.examples,
        "uses": [
            {"day": key.day.isoformat(), "provider": key.provider, "model": key.model, **_use(use)}
            for key, use in sorted(summary.uses.items())
        ],
        "total": _use(totals(summary.uses)),
        "stated_cost": format(summary.stated.total, "f") if summary.stated.by_day_and_model else None,
    }


def _use(use: Use) -> UseAnswer:
    return {
        "calls": use.calls, "input_tokens": use.input_tokens, "cache_read_tokens": use.cache_read_tokens,
        "output_tokens": use.output_tokens, "cost": format_money(use.cost_nanos), "unpriced": use.unpriced,
    }  # fmt: skip
