"""The panels of the dashboard, row by row, as plain data; build.py turns them into Grafana's JSON.

In queries, `@tenant` stands for the filter by the dashboard's tenant variable, `@window` for Grafana's rate interval.
Counters are summed over replicas. Gauges mirror the database and are the same on every replica, so queries take their
maximum.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from token_ledger.observability.requested_figures import REQUESTED_FIGURES


class Kind(Enum):
    """How a panel draws its queries: over time, or the latest values as a table or as a pie."""

    GRAPH = "graph"
    TABLE = "table"
    PIE = "pie"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: `queries` by legend, `unit` as Grafana names it, `width` in 24ths of the page."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: Kind = Kind.GRAPH
    width: int = 8
    stacked: bool = False
    threshold: float | None = None


def _requested(figure: str) -> str:
    """Return the query of a requested figure, filtered by tenant and over the panel's interval."""
    filtered = re.sub(
        r"(token_ledger_\w+)(\{?)",
        lambda found: f"{found[1]}{{@tenant, " if found[2] else f"{found[1]}{{@tenant}}",
        REQUESTED_FIGURES[figure],
    )
    return filtered.replace("[5m]", "[@window]")


REQUESTED: Final = (
    Panel(
        "Tokens per user",
        "token_usage_per_user: tokens per second of the twenty largest users; `~other` is every user past the cap.",
        "short",
        {"{{tenant}} {{user}} {{kind}}": f"topk(20, {_requested('token_usage_per_user')})"},
    ),
    Panel(
        "Cost per request",
        "token_cost_per_request: the mean cost of a call, by model.",
        "currencyUSD",
        {"{{tenant}} {{model}}": _requested("token_cost_per_request")},
    ),
    Panel(
        "Cache hit rate",
        "cache_hit_rate: input tokens read from the provider's cache, as a share of all input tokens.",
        "percentunit",
        {"{{tenant}}": _requested("cache_hit_rate")},
        threshold=0.2,
    ),
    Panel(
        "Optimization trigger rate",
        "optimization_trigger_rate: firings per booked call; applied=false was advice only.",
        "short",
        {"{{tenant}} {{trigger}} {{technique}} applied={{applied}}": _requested("optimization_trigger_rate")},
    ),
    Panel(
        "Prompt compression ratio",
        "prompt_compression_ratio: input tokens after compression ÷ before; 40 % means that 60 % were saved.",
        "percentunit",
        {"{{tenant}}": _requested("prompt_compression_ratio")},
    ),
    Panel(
        "Model selection",
        "model_selection_distribution: share of a tenant's calls, by agent type and model.",
        "percentunit",
        {"{{tenant}} {{agent_type}} {{model}}": _requested("model_selection_distribution")},
    ),
    Panel(
        "Budget exceeded",
        "budget_exceeded_events: refusals per interval; soft and shadow ones did not block the call.",
        "short",
        {"{{tenant}} {{budget}} {{unit}} {{enforcement}}": _requested("budget_exceeded_events")},
        width=12,
        stacked=True,
    ),
    Panel(
        "Live events",
        "websocket_token_events: usage events sent to live streams per second, counted once per stream.",
        "short",
        {"{{tenant}}": _requested("websocket_token_events")},
        width=12,
    ),
)

MONEY: Final = (
    Panel(
        "Spend by cost center",
        "Dollars per hour at the current rate.",
        "currencyUSD",
        {
            "{{tenant}} {{cost_center}}": (
                "3600 * sum by (tenant, cost_center) (rate(token_ledger_cost_dollars_total{@tenant}[@window]))"
            ),
        },
        stacked=True,
    ),
    Panel(
        "Spend by model",
        "Dollars booked in the selected range.",
        "currencyUSD",
        {
            "{{model}}": "sum by (model) (increase(token_ledger_cost_dollars_total{@tenant}[$__range]))",
        },
        kind=Kind.PIE,
    ),
    Panel(
        "Cost of a request, distribution",
        "Median and 99th percentile over all calls, estimated from buckets between $0.0001 and $10.",
        "currencyUSD",
        {
            "p50": (
                "histogram_quantile(0.5, sum by (le)"
                " (rate(token_ledger_request_cost_dollars_bucket{@tenant}[@window])))"
            ),
            "p99": (
                "histogram_quantile(0.99, sum by (le)"
                " (rate(token_ledger_request_cost_dollars_bucket{@tenant}[@window])))"
            ),
        },
    ),
    Panel(
        "Budget used",
        "Used share of each account's limit, held amounts included; the fullest accounts.",
        "percentunit",
        {
            "": "max by (tenant, budget, subject) (token_ledger_budget_used_ratio{@tenant})",
        },
        kind=Kind.TABLE,
        width=12,
        threshold=0.9,
    ),
    Panel(
        "Denials",
        "Refusals in the selected range, by the budget that refused.",
        "short",
        {
            "": (
                "sum by (tenant, budget, unit, enforcement) (increase(token_ledger_denials_total{@tenant}[$__range]))"
            ),
        },
        kind=Kind.TABLE,
        width=12,
    ),
)

EXCEPTIONS: Final = (
    Panel(
        "Thresholds reached",
        "Accounts whose settled amount reached a threshold, per interval. Each threshold counts once, and again after"
        " the share has fallen below it, for example after a grant.",
        "short",
        {
            "{{tenant}} {{budget}} {{unit}} {{percent}} %": (
                "sum by (tenant, budget, unit, percent) (increase(token_ledger_thresholds_total{@tenant}[@window]))"
            ),
        },
    ),
    Panel(
        "Overruns and other exceptions",
        "Per interval: settles above their hold or after its expiry, unpriced calls, quarantined events, duplicates.",
        "short",
        {
            "{{tenant}} overrun": "sum by (tenant) (increase(token_ledger_overrun_total{@tenant}[@window]))",
            "{{tenant}} late": ("sum by (tenant) (increase(token_ledger_late_settles_total{@tenant}[@window]))"),
            "{{tenant}} unpriced": ("sum by (tenant) (increase(token_ledger_unpriced_total{@tenant}[@window]))"),
            "{{tenant}} quarantined": ("sum by (tenant) (increase(token_ledger_quarantined_total{@tenant}[@window]))"),
            "{{tenant}} duplicates": ("sum by (tenant) (increase(token_ledger_duplicates_total{@tenant}[@window]))"),
            "{{tenant}} doubtful": ("sum by (tenant) (increase(token_ledger_doubtful_calls_total{@tenant}[@window]))"),
        },
    ),
    Panel(
        "Optimization failures",
        "Share of failed calls among those that a technique had changed.",
        "percentunit",
        {
            "{{tenant}} {{technique}}": (
                "sum by (tenant, technique)"
                ' (rate(token_ledger_optimizations_total{@tenant, outcome="failed"}[@window]))'
                " / sum by (tenant, technique) (rate(token_ledger_optimizations_total{@tenant}[@window]))"
            ),
        },
        threshold=0.05,
    ),
    Panel(
        "Open holds",
        "Holds neither settled, released nor expired. A line that only rises means that a client never settles.",
        "short",
        {
            "{{tenant}}": "max by (tenant) (token_ledger_open_holds{@tenant})",
        },
    ),
)

SERVICE: Final = (
    Panel(
        "HTTP latency",
        "Median and 99th percentile by route, failures included.",
        "s",
        {
            "p50 {{method}} {{route}}": (
                "histogram_quantile(0.5, sum by (le, route, method)"
                " (rate(token_ledger_http_request_seconds_bucket[@window])))"
            ),
            "p99 {{method}} {{route}}": (
                "histogram_quantile(0.99, sum by (le, route, method)"
                " (rate(token_ledger_http_request_seconds_bucket[@window])))"
            ),
        },
    ),
    Panel(
        "HTTP requests per second",
        "By status; 402 is a denial, not a failure.",
        "reqps",
        {
            "{{status}}": "sum by (status) (rate(token_ledger_http_request_seconds_count[@window]))",
        },
        stacked=True,
    ),
    Panel(
        "Connections of clients",
        "The share of the connections that a process takes, of the fullest process; and connections that were closed by"
        " the service, per second and reason.",
        "short",
        {
            "used share": (
                'max(token_ledger_connections{of="open"} / ignoring (of) token_ledger_connections{of="limit"})'
            ),
            "refused: {{reason}}": "sum by (reason) (rate(token_ledger_refused_connections_total[@window]))",
        },
    ),
    Panel(
        "Recurring work that fails for a tenant",
        "Per second, by what is done. The tenant is left out for up to a minute each time; the log has the reason.",
        "short",
        {
            "{{duty}} {{tenant}}": "sum by (duty, tenant) (rate(token_ledger_duty_failures_total{@tenant}[@window]))",
        },
    ),
    Panel(
        "Operations per second",
        "Operations decided in batches, by verb and result.",
        "ops",
        {
            "{{operation}} {{outcome}}": ("sum by (operation, outcome) (rate(token_ledger_operations_total[@window]))"),
        },
        stacked=True,
    ),
    Panel(
        "Batch duration",
        "From a batch's first statement to its commit.",
        "s",
        {
            "p50": "histogram_quantile(0.5, sum by (le) (rate(token_ledger_batch_seconds_bucket[@window])))",
            "p99": "histogram_quantile(0.99, sum by (le) (rate(token_ledger_batch_seconds_bucket[@window])))",
        },
    ),
    Panel(
        "Operations per batch",
        "The mean grows with load while the latency stays: more operations share a commit.",
        "short",
        {
            "mean": (
                "sum(rate(token_ledger_batch_operations_sum[@window]))"
                " / sum(rate(token_ledger_batch_operations_count[@window]))"
            ),
            "p99": ("histogram_quantile(0.99, sum by (le) (rate(token_ledger_batch_operations_bucket[@window])))"),
        },
    ),
    Panel(
        "Batches that were to be one statement",
        "Per second, by what became of it. All but booked ones were run again under the lock; many stale ones mean that"
        " processes share tenants.",
        "short",
        {
            "{{outcome}}": "sum by (outcome) (rate(token_ledger_batches_at_once_total[@window]))",
        },
        stacked=True,
    ),
    Panel(
        "Replicas",
        "Running processes by version.",
        "short",
        {
            "{{version}}": "count by (version) (token_ledger_build_info)",
        },
    ),
)

ROWS: Final = {
    "Tokens and savings": REQUESTED,
    "Money and budgets": MONEY,
    "Exceptions": EXCEPTIONS,
    "Service": SERVICE,
}
