"""Counts what committed batches did, in the metrics; tenants by name, users within the metrics' own bounds."""

from collections import Counter
from collections.abc import Sequence

from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Denied, Outcome, Quarantined, Refused
from token_ledger.core.tenant import TenantId
from token_ledger.core.writes import Writes
from token_ledger.ledger.group_commit import BatchReport
from token_ledger.observability.metrics import Metrics


class BatchCounter:
    """Turns the reports of batches into metrics. `names` maps tenants to their names; an unknown one is its number."""

    def __init__(self, metrics: Metrics) -> None:
        self.names: dict[TenantId, str] = {}
        self._metrics = metrics

    def count(self, report: BatchReport) -> None:
        """Count one committed batch."""
        self._metrics.batch(seconds=report.seconds, operations=report.operations)
        self._count_outcomes(report.outcomes)
        for tenant, _, writes in report.decided:
            name = self.names.get(tenant) or str(tenant)
            self._count_usage(name, writes)
            self._count_denials(name, writes)
            self._count_thresholds(name, writes)
            self._count_savings(name, writes)
            for erasure in writes.erasures:
                self._metrics.forget_user(name, erasure.user)

    def _count_outcomes(self, outcomes: Sequence[tuple[Command, Outcome]]) -> None:
        counts = Counter((type(command), _result(outcome)) for command, outcome in outcomes)
        for (verb, result), number in counts.items():
            self._metrics.operation(verb.__name__.lower(), result, operations=number)

    def _count_usage(self, tenant: str, writes: Writes) -> None:
        for (_, _, cost_center, user, agent_type, model, _), sums in writes.rollups.items():
            calls, input_tokens, output_tokens, cache_read, cache_write, _, cost_nanos = sums
            self._metrics.calls(
                tenant, user, agent_type, cost_center, model,
                calls=calls, input_tokens=input_tokens, output_tokens=output_tokens,
                cache_read_tokens=cache_read, cache_write_tokens=cache_write, cost_nanos=cost_nanos,
            )  # fmt: skip
        overruns = late = unpriced = 0
        for event in writes.events:
            self._metrics.request_cost(tenant, event.facts.model, event.cost_nanos)
            overruns += event.overrun
            late += event.late
            unpriced += event.unpriced
            if event.original_input_tokens is not None:
                self._metrics.compression(
                    tenant, before_tokens=event.original_input_tokens, after_tokens=event.usage.input_tokens
                )
        self._metrics.overrun(tenant, settles=overruns)
        self._metrics.late_settle(tenant, settles=late)
        self._metrics.unpriced(tenant, calls=unpriced)
        self._metrics.quarantined(tenant, events=len(writes.kept))

    def _count_denials(self, tenant: str, writes: Writes) -> None:
        refusals = Counter(
            (refusal["budget"], refusal["unit"], refusal["enforcement"])
            for denial in writes.denials
            for refusal in denial.refusals
        )
        for (budget, unit, enforcement), number in refusals.items():
            self._metrics.denial(tenant, budget, unit, enforcement, denials=number)

    def _count_thresholds(self, tenant: str, writes: Writes) -> None:
        reached = Counter((event.budget, event.unit.value, event.percent) for event in writes.thresholds if event.fired)
        for (budget, unit, percent), accounts in reached.items():
            self._metrics.threshold(tenant, budget, unit, percent, accounts=accounts)

    def _count_savings(self, tenant: str, writes: Writes) -> None:
        firings = Counter((a.kind.value, a.technique.value, a.applied) for _, _, a in writes.firings)
        for (trigger, technique, applied), number in firings.items():
            self._metrics.firing(tenant, trigger, technique, applied=applied, firings=number)
        for (technique, succeeded), number in Counter(writes.optimizations).items():
            self._metrics.optimization(tenant, technique, "ok" if succeeded else "failed", optimizations=number)


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return outcome.code.value
    if isinstance(outcome, Denied):
        return outcome.denial.code.value
    if isinstance(outcome, Quarantined):
        return "quarantined"
    return "replayed" if getattr(outcome, "replayed", False) else "done"
