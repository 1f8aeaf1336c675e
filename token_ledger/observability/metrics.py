"""Every metric of the service, declared once.

The ledger calls these methods once per committed batch, with figures it has already added up; nothing here
does I/O, reads a clock or raises for a value that was booked. Counters only rise, so corrections with a
negative cost are left to the reports. Gauges that mirror the database are replaced as a whole; replicas show
the same figures, so queries take their `max`, never their `sum`.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Info

from token_ledger.observability.families import Declare, Snapshot

NANOS_PER_DOLLAR: Final = 1_000_000_000
USERS_LIMIT: Final = 2_000
BUDGET_ROWS_LIMIT: Final = 2_000

COST_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
BATCH_SECONDS_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
BATCH_OPERATIONS_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
HTTP_SECONDS_BUCKETS: Final = (
    0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

MISSION_NAMES: Final[dict[str, str]] = {
    "token_usage_per_user": "sum by (tenant, user, kind) (rate(token_ledger_user_tokens_total[5m]))",
    "token_cost_per_request": (
        "sum by (tenant, model) (rate(token_ledger_request_cost_dollars_sum[5m]))"
        " / sum by (tenant, model) (rate(token_ledger_request_cost_dollars_count[5m]))"
    ),
    "cache_hit_rate": (
        'sum by (tenant) (rate(token_ledger_input_tokens_total{source="cache_read"}[5m]))'
        " / sum by (tenant) (rate(token_ledger_input_tokens_total[5m]))"
    ),
    "optimization_trigger_rate": (
        "sum by (tenant, trigger, technique, applied) (rate(token_ledger_trigger_firings_total[5m]))"
        " / on (tenant) group_left () sum by (tenant) (rate(token_ledger_calls_total[5m]))"
    ),
    "prompt_compression_ratio": (
        'sum by (tenant) (rate(token_ledger_compression_input_tokens_total{stage="after"}[5m]))'
        ' / sum by (tenant) (rate(token_ledger_compression_input_tokens_total{stage="before"}[5m]))'
    ),
    "model_selection_distribution": (
        "sum by (tenant, agent_type, model) (rate(token_ledger_calls_total[5m]))"
        " / on (tenant) group_left () sum by (tenant) (rate(token_ledger_calls_total[5m]))"
    ),
    "budget_exceeded_events": ("sum by (tenant, budget, unit, enforcement) (increase(token_ledger_denials_total[5m]))"),
    "websocket_token_events": "sum by (tenant) (rate(token_ledger_stream_events_total[5m]))",
}


class BudgetUse(NamedTuple):
    """What one account has used of its limit, both in the same unit; `subject` is text such as `user=ada`."""

    tenant: str
    budget: str
    subject: str
    used: int
    limit: int


class Metrics:
    """The metrics of one process, registered in the registry it is given."""

    def __init__(self, registry: CollectorRegistry, *, version: str = "unknown") -> None:
        """Declare everything; one registry takes one `Metrics`."""
        declare = Declare(registry)
        self._declare_usage(declare)
        self._declare_saving(declare)
        self._declare_booking(declare)
        self._declare_service(declare)
        self._budget_used = Snapshot(
            registry, "token_ledger_budget_used_ratio", "Used share of the fullest accounts' limits.",
            ("tenant", "budget", "subject"),
        )  # fmt: skip
        self._open_holds = Snapshot(
            registry, "token_ledger_open_holds", "Holds neither settled, released nor expired.", ("tenant",)
        )
        Info("token_ledger_build", "The running version.", registry=registry).info({"version": version})

    def _declare_usage(self, declare: Declare) -> None:
        self._user_tokens = declare.split_counters(
            "token_ledger_user_tokens_total", "Tokens per user.",
            ("tenant", "user"), ("kind", ("input", "output")), folded=("user",), limit=USERS_LIMIT,
        )  # fmt: skip
        self._input_tokens = declare.split_counters(
            "token_ledger_input_tokens_total", "Input tokens by where the provider took them from.",
            ("tenant", "model"), ("source", ("uncached", "cache_read", "cache_write")), folded=("model",),
        )  # fmt: skip
        self._calls = declare.counters(
            "token_ledger_calls_total", "Booked calls.",
            ("tenant", "agent_type", "model"), folded=("agent_type", "model"),
        )  # fmt: skip
        self._cost = declare.counters(
            "token_ledger_cost_dollars_total", "Booked cost.",
            ("tenant", "cost_center", "model"), folded=("cost_center", "model"),
        )  # fmt: skip
        self._request_cost = declare.histograms(
            "token_ledger_request_cost_dollars", "Cost of one call.",
            ("tenant", "model"), COST_BUCKETS, folded=("model",),
        )  # fmt: skip

    def _declare_saving(self, declare: Declare) -> None:
        self._firings = declare.counters(
            "token_ledger_trigger_firings_total", "Triggers that fired, applied or only advised.",
            ("tenant", "trigger", "technique", "applied"),
        )  # fmt: skip
        self._optimizations = declare.split_counters(
            "token_ledger_optimizations_total", "Optimized calls by how they ended.",
            ("tenant", "technique"), ("outcome", ("ok", "failed")),
        )  # fmt: skip
        self._compression = declare.split_counters(
            "token_ledger_compression_input_tokens_total", "Input tokens before and after compression.",
            ("tenant",), ("stage", ("before", "after")),
        )  # fmt: skip

    def _declare_booking(self, declare: Declare) -> None:
        self._denials = declare.counters(
            "token_ledger_denials_total", "Refusals by an account; only hard ones block the call.",
            ("tenant", "budget", "unit", "enforcement"), folded=("budget",),
        )  # fmt: skip
        self._thresholds = declare.counters(
            "token_ledger_thresholds_total", "Thresholds of accounts that were reached by what is settled.",
            ("tenant", "budget", "unit", "percent"), folded=("budget", "percent"),
        )  # fmt: skip
        self._overruns = declare.counters("token_ledger_overrun_total", "Settles above their hold.", ("tenant",))
        self._late = declare.counters(
            "token_ledger_late_settles_total", "Settles after their hold had expired.", ("tenant",)
        )
        self._unpriced = declare.counters(
            "token_ledger_unpriced_total", "Calls booked without a known price.", ("tenant",)
        )
        self._quarantined = declare.counters(
            "token_ledger_quarantined_total", "Events that could not be booked.", ("tenant",)
        )
        self._stream_events = declare.counters(
            "token_ledger_stream_events_total", "Usage events sent to live streams.", ("tenant",)
        )

    def _declare_service(self, declare: Declare) -> None:
        self._operations = declare.counters(
            "token_ledger_operations_total", "Operations decided in batches.", ("operation", "outcome")
        )
        self._batch_seconds = declare.histogram(
            "token_ledger_batch_seconds",
            "One batch, from its first statement to its commit.",
            BATCH_SECONDS_BUCKETS,
        )
        self._batch_operations = declare.histogram(
            "token_ledger_batch_operations", "Operations in one batch.", BATCH_OPERATIONS_BUCKETS
        )
        self._http_seconds = declare.histograms(
            "token_ledger_http_request_seconds", "One HTTP request, by the route's template.",
            ("route", "method", "status"), HTTP_SECONDS_BUCKETS, folded=("route", "method"),
        )  # fmt: skip

    def calls(
        self,
        tenant: str,
        user: str,
        agent_type: str,
        cost_center: str,
        model: str,
        *,
        calls: int,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int,
        cache_write_tokens: int,
        cost_nanos: int,
    ) -> None:
        """Count booked calls; `input_tokens` is the total, cached tokens included."""
        by_input, by_output = self._user_tokens(tenant, user)
        _add(by_input, input_tokens)
        _add(by_output, output_tokens)
        uncached, cache_read, cache_write = self._input_tokens(tenant, model)
        _add(uncached, input_tokens - cache_read_tokens - cache_write_tokens)
        _add(cache_read, cache_read_tokens)
        _add(cache_write, cache_write_tokens)
        _add(self._calls(tenant, agent_type, model), calls)
        _add(self._cost(tenant, cost_center, model), cost_nanos / NANOS_PER_DOLLAR)

    def forget_user(self, tenant: str, user: str) -> None:
        """Show a user no more; whoever comes under the name later is counted from zero."""
        self._user_tokens.forget(tenant, user)

    def request_cost(self, tenant: str, model: str, cost_nanos: int) -> None:
        """Observe the cost of one call."""
        if cost_nanos >= 0:
            self._request_cost(tenant, model).observe(cost_nanos / NANOS_PER_DOLLAR)

    def firing(self, tenant: str, trigger: str, technique: str, *, applied: bool, firings: int = 1) -> None:
        """Count firings of a trigger; `applied` says whether the call was changed or only advised."""
        _add(self._firings(tenant, trigger, technique, "true" if applied else "false"), firings)

    def optimization(
        self, tenant: str, technique: str, outcome: Literal["ok", "failed"], *, optimizations: int = 1
    ) -> None:
        """Count calls a technique had changed, by whether they succeeded."""
        succeeded, failed = self._optimizations(tenant, technique)
        _add(succeeded if outcome == "ok" else failed, optimizations)

    def compression(self, tenant: str, *, before_tokens: int, after_tokens: int) -> None:
        """Count the input tokens of compressed prompts before and after compression."""
        before, after = self._compression(tenant)
        _add(before, before_tokens)
        _add(after, after_tokens)

    def denial(self, tenant: str, budget: str, unit: str, enforcement: str, *, denials: int = 1) -> None:
        """Count refusals by one account; `soft` and `shadow` count what would have been refused."""
        _add(self._denials(tenant, budget, unit, enforcement), denials)

    def threshold(self, tenant: str, budget: str, unit: str, percent: int, *, accounts: int = 1) -> None:
        """Count accounts whose settled amount has reached a threshold."""
        _add(self._thresholds(tenant, budget, unit, str(percent)), accounts)

    def overrun(self, tenant: str, *, settles: int = 1) -> None:
        """Count settles above their hold."""
        _add(self._overruns(tenant), settles)

    def late_settle(self, tenant: str, *, settles: int = 1) -> None:
        """Count settles after their hold had expired."""
        _add(self._late(tenant), settles)

    def unpriced(self, tenant: str, *, calls: int = 1) -> None:
        """Count calls booked without a known price."""
        _add(self._unpriced(tenant), calls)

    def quarantined(self, tenant: str, *, events: int = 1) -> None:
        """Count events that could not be booked."""
        _add(self._quarantined(tenant), events)

    def stream_events(self, tenant: str, *, events: int = 1) -> None:
        """Count usage events sent to live streams, once per stream."""
        _add(self._stream_events(tenant), events)

    def operation(self, operation: str, outcome: str, *, operations: int = 1) -> None:
        """Count operations by verb and by result; both are closed sets."""
        _add(self._operations(operation, outcome), operations)

    def batch(self, *, seconds: float, operations: int) -> None:
        """Observe one committed batch."""
        self._batch_seconds.observe(seconds)
        self._batch_operations.observe(operations)

    def http_request(self, route: str, method: str, status: int, *, seconds: float) -> None:
        """Observe one request; `route` is the template (`/v1/runs/{run_id}`), never the path."""
        self._http_seconds(route, method, str(status)).observe(seconds)

    def replace_budget_ratios(self, rows: Iterable[BudgetUse]) -> None:
        """Show these accounts and no others: the fullest 2,000, each by its fullest unit.

        An account with a limit of zero is a ban: no share of it exists, so it is left out.
        """
        ratios: dict[tuple[str, ...], float] = {}
        for tenant, budget, subject, used, limit in rows:
            if limit > 0:
                key = (tenant, budget, subject)
                ratios[key] = max(used / limit, ratios.get(key, 0.0))
        if len(ratios) > BUDGET_ROWS_LIMIT:
            ratios = dict(heapq.nlargest(BUDGET_ROWS_LIMIT, ratios.items(), key=lambda item: item[1]))
        self._budget_used.replace(ratios)

    def replace_open_holds(self, holds: Mapping[str, int]) -> None:
        """Show these numbers of open holds per tenant and no others."""
        self._open_holds.replace({(tenant,): float(number) for tenant, number in holds.items()})


def _add(counter: Counter, amount: float) -> None:
    """Raise a counter, if the amount is one that counters can take."""
    if amount > 0:
        counter.inc(amount)
