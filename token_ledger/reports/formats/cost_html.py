"""Writes the cost report as a page of HTML that needs nothing else: no script, no network, no other file."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from token_ledger.reports.formats.cost_json import CostReportAnswer, CostTableAnswer

_CHART: Final = (720, 160)
"""Width and height of the chart's area, in units of its drawing."""
_NAMES: Final = {
    "cost_center": "cost center",
    "agent_type": "agent type",
    "request_type": "request type",
    "price_entry": "price entry",
    "fiscal_period": "fiscal period",
    "fiscal_year": "fiscal year",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the chart: where it stands, how high it is, and what it says."""

    x: float
    width: float
    height: float
    label: str
    cost: str


def cost_html(report: CostReportAnswer) -> str:
    """Return a page of a detailed report."""
    width, height = _CHART
    return _template().render(
        report=report, columns=columns_of(report["trend"]), width=width, height=height,
        highest=max((Decimal(row["cost"]) for row in report["trend"]["rows"]), default=Decimal()),
    )  # fmt: skip


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("token_ledger.reports", "formats"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "dollars": dollars, "count": "{:,}".format, "short": short, "percent": percent, "change": change,
        "named": named, "bar": bar,
    }  # fmt: skip
    return environment.get_template("cost_report.html.jinja")


def columns_of(trend: CostTableAnswer) -> list[Column]:
    """Return the columns of the chart of a trend; what is below zero has none."""
    rows = trend["rows"]
    most = max((Decimal(row["cost"]) for row in rows), default=Decimal())
    width, height = _CHART
    step = width / max(len(rows), 1)
    return [
        Column(
            x=round(place * step + step * 0.1, 2), width=round(step * 0.8, 2),
            height=round(float(max(Decimal(row["cost"]), Decimal()) / most) * height, 2) if most > 0 else 0.0,
            label=row["key"] or "", cost=row["cost"],
        )
        for place, row in enumerate(rows)
    ]  # fmt: skip


def dollars(text: str | Decimal) -> str:
    """Return dollars to read: cents, or six digits of an amount below one dollar."""
    amount = Decimal(text)
    digits = Decimal("0.01") if abs(amount) >= 1 or not amount else Decimal("0.000001")
    shown = amount.quantize(digits, ROUND_HALF_EVEN)
    return f"{'-' if shown < 0 else ''}${abs(shown):,}"


def short(count: int) -> str:
    """Return a count of tokens to read: thousands whole, more as millions or billions with one digit."""
    for name, size in (("B", 10**9), ("M", 10**6)):
        if abs(count) >= size:
            return f"{count / size:,.1f} {name}"
    return f"{count:,}"


def percent(part: float | None) -> str:
    """Return a part as percent, a dash where there is none."""
    return "-" if part is None else f"{100 * part:.1f} %"


def change(part: float | None) -> str:
    """Return how much more or less something is, as percent."""
    return "nothing before" if part is None else f"{'-' if part < 0 else '+'}{abs(100 * part):.1f} %"


def named(dimension: str) -> str:
    """Return a dimension in words."""
    return _NAMES.get(dimension, dimension.removeprefix("tag:"))


def bar(part: float | None, longest: float | None) -> float:
    """Return the length of a bar in percent of the longest one."""
    return round(100 * min(max((part or 0) / longest, 0), 1), 2) if longest and longest > 0 else 0.0
