"""Building blocks of the metrics: label sets that are kept and capped, and gauges replaced as a whole.

Most label values come from callers (users, models, agent types), so without a cap one client could fill the
memory of the service and of Prometheus. Past the cap new values are counted together as `~other`: sums stay
right, only the detail is lost, and the values that came first keep their place until the process ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

OTHER: Final = "~other"
LABEL_SETS_LIMIT: Final = 2_000
# One label set of a histogram is some twenty series.
HISTOGRAMS_LIMIT: Final = 500

Child = TypeVar("Child")


class Family(Generic[Child]):
    """The children of one metric by label set: `limit` sets at most, besides those folded into `~other`."""

    __slots__ = ("_children", "_folded", "_limit", "_make", "_remove")

    def __init__(
        self, make: Callable[..., Child], labels: Sequence[str], *, folded: Sequence[str], limit: int,
        remove: Callable[..., None] | None = None,
    ) -> None:  # fmt: skip
        """Keep what `make` returns for the values of `labels`; `folded` names those that become `~other`."""
        self._make = make
        self._remove = remove
        self._folded = tuple(name in folded for name in labels)
        self._limit = limit
        self._children: dict[tuple[str, ...], Child] = {}

    def __call__(self, *values: str) -> Child:
        """Return the child of these label values, in the order of the labels."""
        child = self._children.get(values)
        return self._add(values) if child is None else child

    def forget(self, *values: str) -> None:
        """Show a label set no more; one that was folded into `~other` is not shown by itself."""
        assert self._remove is not None, "only some families can forget"
        child = self._children.pop(values, None)
        if child is not None and OTHER not in values:
            self._remove(*values)

    def _add(self, values: tuple[str, ...]) -> Child:
        # A family without folded labels holds closed sets only (tenants, outcomes) and is never cut.
        if len(self._children) >= self._limit and any(self._folded):
            values = tuple(OTHER if fold else value for value, fold in zip(values, self._folded, strict=True))
        child = self._children[values] = self._make(*values)
        return child


class Snapshot(Collector):
    """A gauge whose label sets are replaced all at once, so that no scrape sees half of a refresh."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, labels: Sequence[str]) -> None:
        """Register an empty gauge."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._values: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show exactly `values` (label values to figure) from now on."""
        self._values = dict(values)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Tell the registry the name without any samples."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the figures of the last replacement."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]


class Declare:
    """Declares metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counters(
        self, name: str, documentation: str, labels: Sequence[str], *, folded: Sequence[str] = ()
    ) -> Family[Counter]:
        """Declare a counter with labels."""
        counter = Counter(name, documentation, labels, registry=self._registry)
        return Family(counter.labels, labels, folded=folded, limit=LABEL_SETS_LIMIT)

    def split_counters(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        last: tuple[str, Sequence[str]],
        *,
        folded: Sequence[str] = (),
        limit: int = LABEL_SETS_LIMIT,
    ) -> Family[tuple[Counter, ...]]:
        """Declare a counter whose `last` label (name, values) has a closed set of values, made together.

        A series that is missing until its first failure hides that failure from `rate`, and a ratio of which
        one side is missing is no ratio.
        """
        last_label, last_values = last
        counter = Counter(name, documentation, (*labels, last_label), registry=self._registry)

        def make(*values: str) -> tuple[Counter, ...]:
            return tuple(counter.labels(*values, value) for value in last_values)

        def remove(*values: str) -> None:
            for value in last_values:
                counter.remove(*values, value)

        return Family(make, labels, folded=folded, limit=limit, remove=remove)

    def histograms(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        *,
        folded: Sequence[str],
    ) -> Family[Histogram]:
        """Declare a histogram with labels."""
        histogram = Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)
        return Family(histogram.labels, labels, folded=folded, limit=HISTOGRAMS_LIMIT)

    def histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        """Declare a histogram without labels."""
        return Histogram(name, documentation, buckets=buckets, registry=self._registry)
