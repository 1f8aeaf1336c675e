"""Builds the Grafana dashboard: `python -m dashboards.build` writes it, `--check` fails on a difference.

Development only: the service never imports this, and Grafana reads the committed JSON. The content is in panels.py;
this file knows Grafana's format (the classic schema, which Grafana provisions from files).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, assert_never

from grafana_foundation_sdk.builders import dashboard, piechart, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    TableSortByFieldState,
    VizLegendOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import ROWS, Kind, Panel

OUTPUT: Final = Path(__file__).parent / "grafana" / "token-ledger.json"
# A variable, not a fixed data source, so that the file can also be imported by hand.
DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TENANT: Final = 'tenant=~"$tenant"'
PANEL_HEIGHT: Final = 8

Builder = timeseries.Panel | table.Panel | piechart.Panel


def build() -> str:
    """Return the dashboard as JSON; the same panels give the same text."""
    page = (
        dashboard.Dashboard("Token Ledger")
        .uid("token-ledger")
        .description("Tokens, money, budgets and savings of LLM agents, and the health of the service.")
        .tags(["token-ledger"])
        .timezone(common.TimeZoneBrowser)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_tenant_variable())
    )
    identifier = 0
    for title, panels in ROWS.items():
        identifier += 1
        page = page.with_row(dashboard.Row(title).id(identifier))
        for panel in panels:
            identifier += 1
            page = page.with_panel(_panel(panel).id(identifier))
    return JSONEncoder(sort_keys=True, indent=1).encode(page.build()) + "\n"


def _tenant_variable() -> dashboard.QueryVariable:
    # A tenant may have refusals before its first booked call, so look at both metrics.
    query = 'label_values({__name__=~"token_ledger_(calls|denials)_total"}, tenant)'
    return (
        dashboard.QueryVariable("tenant")
        .label("Tenant")
        .datasource(DATASOURCE)
        .query(query)
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _panel(panel: Panel) -> Builder:
    builder = _drawn(panel)
    for position, (legend, expression) in enumerate(panel.queries.items()):
        builder = builder.with_target(_query(panel.kind, expression, legend).ref_id(chr(ord("A") + position)))
    if panel.threshold is not None:
        builder = builder.thresholds(
            dashboard.ThresholdsConfig()
            .mode(models.ThresholdsMode.ABSOLUTE)
            .steps([models.Threshold(None, "green"), models.Threshold(panel.threshold, "orange")])
        )
    return (
        builder.title(panel.title)
        .description(panel.description)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .min(0)
        .span(panel.width)
        .height(PANEL_HEIGHT)
    )


def _drawn(panel: Panel) -> Builder:
    match panel.kind:
        case Kind.GRAPH:
            return _graph(panel)
        case Kind.TABLE:
            return _table(panel)
        case Kind.PIE:
            return piechart.Panel().reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        case _:
            assert_never(panel.kind)


def _graph(panel: Panel) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE)
    legend = legend.placement(common.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]).show_legend(True)
    graph = timeseries.Panel().legend(legend)
    if panel.stacked:
        graph = graph.stacking(StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    if panel.threshold is not None:
        style = GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        graph = graph.thresholds_style(style)
    return graph


def _table(panel: Panel) -> table.Panel:
    hide_time = models.DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}})
    listing = table.Panel().with_transformation(hide_time)
    listing = listing.sort_by([TableSortByFieldState().display_name("Value").desc(True)])
    if panel.threshold is None:
        return listing
    gauge = models.DynamicConfigValue("custom.cellOptions", common.TableBarGaugeCellOptions())
    return listing.override_by_name("Value", [gauge, models.DynamicConfigValue("max", 1)])


def _query(kind: Kind, expression: str, legend: str) -> Dataquery:
    written = expression.replace("@tenant", TENANT).replace("@window", "$__rate_interval")
    query = Dataquery().datasource(DATASOURCE).expr(written).legend_format(legend)
    match kind:
        case Kind.GRAPH:
            return query.range()
        case Kind.TABLE:
            return query.instant().format(PromQueryFormat.TABLE)
        case Kind.PIE:
            return query.instant()
        case _:
            assert_never(kind)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the dashboard; with `--check`, return 1 if the file differs from what would be written."""
    parser = argparse.ArgumentParser(description="Build the Grafana dashboard.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    if not parser.parse_args(arguments).check:
        OUTPUT.write_text(build(), encoding="utf-8")
        return 0
    if OUTPUT.read_text(encoding="utf-8") == build():
        return 0
    sys.stderr.write(f"{OUTPUT.name} is stale: run python -m dashboards.build\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
