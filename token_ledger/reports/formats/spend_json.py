"""Answers of the report of spend."""

from typing import Annotated, NotRequired, cast

from typing_extensions import TypedDict

from token_ledger.reports.calls import Key
from token_ledger.reports.dimensions import Dimension
from token_ledger.reports.formats.json import KindUseAnswer, kind_use_answer
from token_ledger.reports.other_kinds import KindUse
from token_ledger.reports.page import PageSums
from token_ledger.reports.spend import Spend, SpendRow
from token_ledger.reports.sums import NOTHING
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant
from token_ledger.wire.token_kinds import SumsAnswer, sums_answer

Keys = dict[str, str | None]
By = Annotated[Keys, doc("The value of each dimension; null where calls have none.", {"user": "ada"})]
Kinds = Annotated[
    list[KindUseAnswer] | None,
    doc(
        "What was used of other kinds, such as web searches, dearest first; null if some of these calls may no longer "
        "be kept. Only if `kinds` is asked for.",
        [example_of(KindUseAnswer)],
    ),
]


@answer
class SpendSumsAnswer(SumsAnswer):
    """Calls, tokens and cost of one value of each dimension."""

    by: By


@answer
class SpendRowAnswer(SpendSumsAnswer):
    """The same, with what there was of it in the span that is compared, and of other kinds, if these are asked for."""

    compared: NotRequired[Annotated[SumsAnswer, doc("The same of the other span.", example_of(SumsAnswer))]]
    kinds: NotRequired[Kinds]


@answer
class SpendTotalAnswer(SumsAnswer):
    """Calls, tokens and cost of all rows, and their use of other kinds if that is asked for."""

    kinds: NotRequired[Kinds]


@answer
class LinesAnswer(TypedDict):
    """What of the total is told by itself; each is left out where there is none, or where it is not known any more."""

    unattributed: NotRequired[Annotated[SumsAnswer, doc("Of no cost center.", example_of(SumsAnswer))]]
    unpriced: NotRequired[
        Annotated[SumsAnswer, doc("Of which a part had no price when it was booked.", example_of(SumsAnswer))]
    ]
    estimated: NotRequired[Annotated[SumsAnswer, doc("Estimates of their callers.", example_of(SumsAnswer))]]
    late: NotRequired[Annotated[SumsAnswer, doc("Reported after their hold had expired.", example_of(SumsAnswer))]]
    adjusted: NotRequired[
        Annotated[SumsAnswer, doc("Corrections and re-costings of other calls.", example_of(SumsAnswer))]
    ]


# `from` is a keyword of Python, so these types cannot be written as classes.
ComparedSpend = TypedDict(
    "ComparedSpend",
    {
        "from": Annotated[InstantText, doc("Start of the span, included.", "2026-10-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the span, excluded.", "2026-11-01T00:00:00+00:00")],
        "rest": Annotated[
            SumsAnswer, doc("What it has besides the rows, under whatever values.", example_of(SumsAnswer))
        ],
        "total": Annotated[SumsAnswer, doc("All of it.", example_of(SumsAnswer))],
    },
)
ComparedSpend.__doc__ = "The span before."

SpendReport = TypedDict(
    "SpendReport",
    {
        "group_by": Annotated[list[str], doc("The dimensions of the rows.", ["user"])],
        "from": Annotated[InstantText, doc("Start of the span, included.", "2026-11-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the span, excluded.", "2026-12-01T00:00:00+00:00")],
        "time_zone": Annotated[str, doc("The tenant's time zone at the start of the span.", "Europe/Berlin")],
        "booked_until": Annotated[
            InstantText, doc("Whatever was booked until then is in the report.", "2026-11-21T09:30:00.123456+00:00")
        ],
        "rows": Annotated[
            list[SpendRowAnswer],
            doc(
                "A row for the values that calls have, in the order that was asked for.", [example_of(SpendSumsAnswer)]
            ),
        ],
        "next": Annotated[str | None, doc("The `after` of the next page; null where this is the last one.", None)],
        "rest": Annotated[SumsAnswer, doc("The sum of all other rows.", example_of(SumsAnswer))],
        "total": Annotated[SpendTotalAnswer, doc("The sum of all rows.", example_of(SumsAnswer))],
        "compared": NotRequired[
            Annotated[ComparedSpend, doc("The span before, if `compare` is asked for.", example_of(ComparedSpend))]
        ],
        "lines": Annotated[LinesAnswer, doc("What of the total is told by itself.", example_of(LinesAnswer))],
        "lines_are_complete": Annotated[
            bool, doc("False if calls of the span may no longer be kept: then `lines` has `unattributed` only.", True)
        ],
        "crossed": Annotated[
            SumsAnswer | None,
            doc(
                "What accounts of the span have besides the total: calls made after it on leases that began in it, "
                "less those in it on leases that began before. Null if some of these calls may no longer be kept.",
                example_of(SumsAnswer),
            ),
        ],
        "crossed_rows": Annotated[
            list[SpendSumsAnswer] | None,
            doc(
                "`crossed` by the values of the rows shown: an account of a value has its row, and its row here if "
                "there is one. Of a value that has no row, `crossed` says it where calls are chosen by that value.",
                [example_of(SpendSumsAnswer)],
            ),
        ],
        "imported": Annotated[
            SumsAnswer | None,
            doc(
                "What of the total was imported from other systems. Accounts whose window had not ended at the import "
                "do not have it. Null if some of these calls may no longer be kept.",
                example_of(SumsAnswer),
            ),
        ],
        "imported_rows": Annotated[
            list[SpendSumsAnswer] | None,
            doc("`imported` by the values of the rows that are shown.", [example_of(SpendSumsAnswer)]),
        ],
    },
)
SpendReport.__doc__ = "Spend of a span."


def spend_report(spend: Spend) -> SpendReport:
    """Return the spend of a span."""
    asked = spend.asked
    since, until = asked.span
    total = cast(SpendTotalAnswer, sums_answer(spend.total))
    if asked.with_kinds:
        total["kinds"] = None if spend.kinds is None else _kinds(spend.kinds.total)
    last = asked.after + len(spend.rows)
    report: SpendReport = {
        "group_by": [each.name for each in asked.group_by],
        "from": instant(since),
        "to": instant(until),
        "time_zone": str(spend.calendar.local(since).tzinfo),
        "booked_until": instant(spend.booked_until),
        "rows": [_row(spend, row) for row in spend.rows],
        "next": str(last) if last < spend.count and spend.rows else None,
        "rest": sums_answer(spend.rest),
        "total": total,
        "lines": lines_answer(spend),
        "lines_are_complete": spend.lines_are_complete,
        "crossed": None if spend.crossed is None else sums_answer(spend.crossed.total),
        "crossed_rows": _rows(asked.group_by, spend.crossed),
        "imported": None if spend.imported is None else sums_answer(spend.imported.total),
        "imported_rows": _rows(asked.group_by, spend.imported),
    }
    if (compared := spend.compared) is not None:
        begin, end = compared.span
        report["compared"] = {
            "from": instant(begin), "to": instant(end),
            "rest": sums_answer(compared.sums.rest), "total": sums_answer(compared.sums.total),
        }  # fmt: skip
    return report


def lines_answer(spend: Spend) -> LinesAnswer:
    """Return what of a total is told by itself."""
    return cast(LinesAnswer, {name: sums_answer(sums) for name, sums in spend.lines.items()})


def _row(spend: Spend, row: SpendRow) -> SpendRowAnswer:
    shown = cast(SpendRowAnswer, {"by": _by(spend.asked.group_by, row.key), **sums_answer(row.sums)})
    if spend.compared is not None:
        shown["compared"] = sums_answer(spend.compared.sums.rows.get(row.key, NOTHING))
    if spend.asked.with_kinds:
        shown["kinds"] = None if spend.kinds is None else _kinds(spend.kinds.rows.get(row.key, ()))
    return shown


def _kinds(uses: tuple[KindUse, ...]) -> list[KindUseAnswer]:
    return [kind_use_answer(use) for use in uses]


def _by(group_by: tuple[Dimension, ...], key: Key) -> Keys:
    return {dimension.name: text for dimension, text in zip(group_by, key, strict=True)}


def _rows(group_by: tuple[Dimension, ...], sums: PageSums | None) -> list[SpendSumsAnswer] | None:
    if sums is None:
        return None
    return [{"by": _by(group_by, key), **sums_answer(each)} for key, each in sums.rows.items()]
