"""Counts in the metrics what committed batches did.

To count something new of a batch, declare its metric in `observability.metrics` and count it from `writes` here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Denied, Outcome, Quarantined, Refused
from token_ledger.core.batch.rollup_keys import RollupKey
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.repetition import DOUBTFUL, Repetition
from token_ledger.core.model.usage import Figures, Usage, figures_of
from token_ledger.ledger.group_commit import BatchReport
from token_ledger.observability.metrics import BookedCalls, Metrics


class BatchMetrics:
    """Counts the reports of batches, under the names that the tenants had in them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, report: BatchReport) -> None:
        """Count one committed batch."""
        self._metrics.batch_seconds.observe(report.seconds)
        self._metrics.batch_operations.observe(report.operations)
        self._count_outcomes(report.outcomes)
        for tenant, _, writes in report.decided:
            name = report.names[tenant]
            self._count_usage(name, writes)
            self._count_repetitions(name, writes)
            self._count_denials(name, writes)
            self._count_thresholds(name, writes)
            self._count_savings(name, writes)
            for erasure in writes.erasures:
                self._metrics.forget_user(name, erasure.user)

    def _count_outcomes(self, outcomes: Sequence[tuple[Command, Outcome]]) -> None:
        counts = Counter((command.verb, _result(outcome)) for command, outcome in outcomes)
        for (verb, result), number in counts.items():
            self._metrics.operations(verb, result).inc(number)

    def _count_usage(self, tenant: str, writes: Writes) -> None:
        self._metrics.count_calls(tenant, _booked(writes))
        overruns = late = unpriced = 0
        costs: dict[str, list[int]] = {}
        for event in writes.events:
            if event.is_duplicate:
                continue
            if event.kind is None:
                costs.setdefault(event.facts.model, []).append(event.cost_nanos)
            overruns += event.overrun
            late += event.late
            unpriced += event.unpriced
            if event.original_input_tokens is not None:
                before, after = self._metrics.compression_input_tokens(tenant)
                before.inc(event.original_input_tokens)
                after.inc(event.usage.input_tokens)
        for model, nanos in costs.items():
            self._metrics.observe_costs(tenant, model, nanos)
        self._metrics.overruns(tenant).inc(overruns)
        self._metrics.late_settles(tenant).inc(late)
        self._metrics.unpriced_calls(tenant).inc(unpriced)
        self._metrics.quarantined_events(tenant).inc(len(writes.kept))

    def _count_repetitions(self, tenant: str, writes: Writes) -> None:
        found = Counter(event.repetition for event in (*writes.events, *writes.parts) if event.repetition is not None)
        self._metrics.duplicates(tenant).inc(found[Repetition.DUPLICATE])
        for repetition in DOUBTFUL:
            if number := found[repetition]:
                self._metrics.doubtful_calls(tenant, repetition.value).inc(number)

    def _count_denials(self, tenant: str, writes: Writes) -> None:
        for denial in writes.denials:
            for refusal in denial.refusals:
                labels = refusal.budget, refusal.unit.value, refusal.enforcement.value
                self._metrics.denials(tenant, *labels).inc(refusal.calls)

    def _count_thresholds(self, tenant: str, writes: Writes) -> None:
        reached = Counter((event.budget, event.unit.value, event.percent) for event in writes.thresholds if event.fired)
        for (budget, unit, percent), accounts in reached.items():
            self._metrics.thresholds(tenant, budget, unit, str(percent)).inc(accounts)

    def _count_savings(self, tenant: str, writes: Writes) -> None:
        firings = Counter((a.kind.value, a.technique.value, a.applied) for _, a in writes.firings)
        for (trigger, technique, applied), number in firings.items():
            self._metrics.trigger_firings(tenant, trigger, technique, "true" if applied else "false").inc(number)
        for (technique, succeeded), number in Counter(writes.optimizations).items():
            ok, failed = self._metrics.optimizations(tenant, technique.value)
            (ok if succeeded else failed).inc(number)


_Labels = tuple[str, str, str, str]
"""User, agent type, cost center and model."""


def _booked(writes: Writes) -> Iterable[BookedCalls]:
    """Return what was booked, without corrections: counters only rise."""
    taken = [*map(_taken_back, writes.corrections), *map(_taken_by, writes.recostings)]
    if not taken:
        return [_calls(_labels(key), figures) for key, figures in writes.rollups.items()]
    booked: dict[_Labels, Sequence[int]] = {}
    for labels, figures in (*((_labels(key), figures) for key, figures in writes.rollups.items()), *taken):
        before = booked.get(labels)
        booked[labels] = figures if before is None else [*map(sum, zip(before, figures, strict=True))]
    return [_calls(labels, figures) for labels, figures in booked.items()]


def _labels(key: RollupKey) -> _Labels:
    return key.user_id, key.agent_type, key.cost_center, key.model


def _calls(labels: _Labels, figures: Sequence[int]) -> BookedCalls:
    """Return figures as they are counted: there is no counter of reasoning."""
    sums = Figures(*figures)
    return BookedCalls(
        *labels, sums.calls, sums.input_tokens, sums.output_tokens, sums.cache_read_tokens, sums.cache_write_tokens,
        sums.cost_nanos,
    )  # fmt: skip


def _taken_back(correction: UsageEvent) -> tuple[_Labels, Figures]:
    """Return what a correction took off the roll-ups, to add it again."""
    facts = correction.facts
    figures = figures_of(correction.calls, correction.usage, correction.cost_nanos)
    return (facts.user, facts.agent_type, facts.cost_center, facts.model), Figures(*(-figure for figure in figures))


def _taken_by(recosting: RecostedEvent) -> tuple[_Labels, Figures]:
    """Return what a re-costing took off the roll-ups, to add it again."""
    facts = recosting.recosted.facts
    return (facts.user, facts.agent_type, facts.cost_center, facts.model), figures_of(0, Usage(), -recosting.cost_nanos)


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return outcome.code.value
    if isinstance(outcome, Denied):
        return outcome.denial.code.value
    if isinstance(outcome, Quarantined):
        return "quarantined"
    return "replayed" if getattr(outcome, "replayed", False) else "done"
