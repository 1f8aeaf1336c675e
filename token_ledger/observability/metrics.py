"""Every metric of the service: each is an attribute of `Metrics`, declared once with its labels, help and buckets.

What committed batches did is counted in `ledger.batch_metrics`, gauges are refreshed in `worker.gauges`, requests are
measured in `api.app`. Nothing here does I/O, reads a clock or raises for a value that was booked. Counters only rise,
so corrections with a negative cost show in the reports only. Gauges mirror the database and are the same on every
replica, so queries take their `max`, never their `sum`.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Info

from token_ledger.observability.metric_types import Declare

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


class BudgetUse(NamedTuple):
    """What an account has used of its limit, both in the same unit; `subject` is text such as `user=ada`."""

    tenant: str
    budget: str
    subject: str
    used: int
    limit: int


class BookedCalls(NamedTuple):
    """What calls of a user, an agent type, a cost center and a model have booked.

    `input_tokens` is the total, cached tokens included. A correction is negative and counts nothing.
    """

    user: str
    agent_type: str
    cost_center: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_nanos: int


class Metrics:
    """The metrics of one process, in the registry it is given.

    A metric with labels is called with their values in the order declared: `metrics.overruns("acme").inc()`. A split
    counter returns a counter for each value of its last label.
    """

    def __init__(self, registry: CollectorRegistry, *, version: str = "unknown") -> None:
        """Declare everything; a registry takes one `Metrics`."""
        declare = Declare(registry)
        self._scrapes = declare.scrapes
        self._declare_usage(declare)
        self._declare_savings(declare)
        self._declare_limits(declare)
        self._declare_exceptions(declare)
        self._declare_service(declare)
        Info("token_ledger_build", "Running version.", registry=registry).info({"version": version})

    def _declare_usage(self, declare: Declare) -> None:
        self.user_tokens = declare.split_counters(
            "token_ledger_user_tokens_total", "Tokens by user.",
            ("tenant", "user"), ("kind", ("input", "output")), capped=("user",), limit=USERS_LIMIT,
        )  # fmt: skip
        self.input_tokens = declare.split_counters(
            "token_ledger_input_tokens_total", "Input tokens, by whether the provider's cache was read or written.",
            ("tenant", "model"), ("source", ("uncached", "cache_read", "cache_write")), capped=("model",),
        )  # fmt: skip
        self.calls = declare.counters(
            "token_ledger_calls_total", "Booked calls.",
            ("tenant", "agent_type", "model"), capped=("agent_type", "model"),
        )  # fmt: skip
        self.cost_dollars = declare.counters(
            "token_ledger_cost_dollars_total", "Booked cost in US dollars.",
            ("tenant", "cost_center", "model"), capped=("cost_center", "model"),
        )  # fmt: skip
        self.request_cost_dollars = declare.histograms(
            "token_ledger_request_cost_dollars", "Cost of one call in US dollars.",
            ("tenant", "model"), COST_BUCKETS, capped=("model",),
        )  # fmt: skip

    def _declare_savings(self, declare: Declare) -> None:
        self.trigger_firings = declare.counters(
            "token_ledger_trigger_firings_total", "Triggers that fired; applied=false only advised.",
            ("tenant", "trigger", "technique", "applied"),
        )  # fmt: skip
        self.optimizations = declare.split_counters(
            "token_ledger_optimizations_total", "Calls that a technique had changed, by whether they succeeded.",
            ("tenant", "technique"), ("outcome", ("ok", "failed")),
        )  # fmt: skip
        self.compression_input_tokens = declare.split_counters(
            "token_ledger_compression_input_tokens_total", "Input tokens of compressed prompts, before and after.",
            ("tenant",), ("stage", ("before", "after")),
        )  # fmt: skip

    def _declare_limits(self, declare: Declare) -> None:
        self.denials = declare.counters(
            "token_ledger_denials_total", "Calls that an account refused; soft and shadow ones did not block them.",
            ("tenant", "budget", "unit", "enforcement"), capped=("budget",),
        )  # fmt: skip
        self.thresholds = declare.counters(
            "token_ledger_thresholds_total", "Accounts whose settled amount reached a threshold.",
            ("tenant", "budget", "unit", "percent"), capped=("budget", "percent"),
        )  # fmt: skip
        self.budget_used = declare.snapshot(
            "token_ledger_budget_used_ratio", "Used share of a limit, held amounts included; the fullest accounts.",
            ("tenant", "budget", "subject"),
        )  # fmt: skip
        self.open_holds = declare.snapshot("token_ledger_open_holds", "Open holds.", ("tenant",))

    def _declare_exceptions(self, declare: Declare) -> None:
        self.overruns = declare.counters("token_ledger_overrun_total", "Settles above their hold.", ("tenant",))
        self.late_settles = declare.counters(
            "token_ledger_late_settles_total", "Settles after their hold had expired.", ("tenant",)
        )
        self.unpriced_calls = declare.counters(
            "token_ledger_unpriced_total", "Calls booked without a known price.", ("tenant",)
        )
        self.duplicates = declare.counters(
            "token_ledger_duplicates_total", "Reports of a response that was booked before; nothing was booked again.",
            ("tenant",),
        )  # fmt: skip
        self.doubtful_calls = declare.counters(
            "token_ledger_doubtful_calls_total", "Booked calls whose response id leaves open whether they were before.",
            ("tenant", "repetition"),
        )  # fmt: skip
        self.quarantined_events = declare.counters(
            "token_ledger_quarantined_total", "Events that could not be booked.", ("tenant",)
        )

    def _declare_service(self, declare: Declare) -> None:
        self.operations = declare.counters(
            "token_ledger_operations_total", "Operations decided in batches.", ("operation", "outcome")
        )
        self.batch_seconds = declare.histogram(
            "token_ledger_batch_seconds", "Duration of a batch, from its first statement to its commit.",
            BATCH_SECONDS_BUCKETS,
        )  # fmt: skip
        self.batch_operations = declare.histogram(
            "token_ledger_batch_operations", "Operations in one batch.", BATCH_OPERATIONS_BUCKETS
        )
        self.batches_at_once = declare.counters(
            "token_ledger_batches_at_once_total",
            "Batches that were to be one statement, by what became of it; all but booked ones were run under the lock.",
            ("outcome",),
        )  # fmt: skip
        self.http_request_seconds = declare.histograms(
            "token_ledger_http_request_seconds", "Time until the response began, by route template.",
            ("route", "method", "status"), HTTP_SECONDS_BUCKETS, capped=("route", "method"),
        )  # fmt: skip
        self.stream_events = declare.counters(
            "token_ledger_stream_events_total", "Usage events sent to live streams, once per stream.", ("tenant",)
        )

        self.duty_failures = declare.counters(
            "token_ledger_duty_failures_total", "Times that recurring work failed for one tenant and left it out.",
            ("duty", "tenant"),
        )  # fmt: skip
        self.connections = declare.snapshot(
            "token_ledger_connections", "Connections of clients to this process: open, and how many may be.", ("of",)
        )
        self.refused_connections = declare.counters(
            "token_ledger_refused_connections_total", "Connections that were closed by the service, by the reason.",
            ("reason",),
        )  # fmt: skip

    def count_at_once(self, outcome: str) -> None:
        """Count a batch that was to be one statement."""
        self.batches_at_once(outcome).inc()

    def count_refused_connection(self, reason: str) -> None:
        """Count a connection that was closed by the service."""
        self.refused_connections(reason).inc()

    def show_connections(self, number: int, most: int) -> None:
        """Show how many connections are open, and how many may be."""
        self.connections.replace({("open",): float(number), ("limit",): float(most)})

    def begin_scrape(self) -> None:
        """Note that the metrics are looked at; what was not used for many scrapes may then give way."""
        self._scrapes.number += 1

    def count_calls(self, tenant: str, booked: Iterable[BookedCalls]) -> None:
        """Count booked calls. What counts for the same series is added up first, which takes a third of the time."""
        by_input: dict[str, int] = defaultdict(int)
        by_output: dict[str, int] = defaultdict(int)
        by_source = [defaultdict[str, int](int) for _ in range(3)]
        uncached, cache_read, cache_write = by_source
        calls: dict[tuple[str, str], int] = defaultdict(int)
        costs: dict[tuple[str, str], int] = defaultdict(int)
        for user, agent_type, cost_center, model, number, of_input, of_output, read, written, nanos in booked:
            by_input[user] += max(of_input, 0)
            by_output[user] += max(of_output, 0)
            uncached[model] += max(of_input - read - written, 0)
            cache_read[model] += max(read, 0)
            cache_write[model] += max(written, 0)
            calls[agent_type, model] += max(number, 0)
            costs[cost_center, model] += max(nanos, 0)
        for user in by_input:
            for counter, sums in zip(self.user_tokens(tenant, user), (by_input, by_output), strict=True):
                counter.inc(sums[user])
        for model in uncached:
            for counter, sums in zip(self.input_tokens(tenant, model), by_source, strict=True):
                counter.inc(sums[model])
        for names, number in calls.items():
            self.calls(tenant, *names).inc(number)
        for names, nanos in costs.items():
            self.cost_dollars(tenant, *names).inc(nanos / NANOS_PER_DOLLAR)

    def observe_costs(self, tenant: str, model: str, costs_nanos: Iterable[int]) -> None:
        """Observe the cost of each of some calls, unless it is a correction below zero."""
        observed = [nanos for nanos in costs_nanos if nanos >= 0]
        if observed:
            histogram = self.request_cost_dollars(tenant, model)
            for nanos in observed:
                histogram.observe(nanos / NANOS_PER_DOLLAR)

    def count_duty_failure(self, duty: str, tenant: str) -> None:
        """Count that recurring work failed for a tenant."""
        self.duty_failures(duty, tenant).inc()

    def forget_user(self, tenant: str, user: str) -> None:
        """Remove the series of a user; a later user of the same name is counted from zero."""
        self.user_tokens.forget(tenant, user)

    def show_budget_use(self, rows: Iterable[BudgetUse]) -> None:
        """Show exactly these accounts: the fullest 2,000, each by its fullest unit.

        Accounts with a limit of zero are left out: they ban calls, and have no used share.
        """
        ratios: dict[tuple[str, ...], float] = {}
        for tenant, budget, subject, used, limit in rows:
            if limit > 0:
                key = (tenant, budget, subject)
                ratios[key] = max(used / limit, ratios.get(key, 0.0))
        if len(ratios) > BUDGET_ROWS_LIMIT:
            ratios = dict(heapq.nlargest(BUDGET_ROWS_LIMIT, ratios.items(), key=lambda item: item[1]))
        self.budget_used.replace(ratios)

    def show_open_holds(self, holds: Mapping[str, int]) -> None:
        """Show exactly these numbers of open holds, by tenant."""
        self.open_holds.replace({(tenant,): float(number) for tenant, number in holds.items()})
