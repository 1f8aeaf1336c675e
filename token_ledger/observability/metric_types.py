"""Kinds of metrics: counters and histograms with a capped number of label sets, and gauges replaced as a whole.

Most label values come from callers (users, models, agent types), so without a cap one client could fill the memory of
the service and of Prometheus. A tenant that is short of room takes it from the tenant with the most label sets, and
what that one used longest ago gives way; so does a tenant's own label set that was not used for `IDLE_SCRAPES`.
Otherwise new values are counted together as `~other`, so that a tenant can't make Prometheus keep ever more series.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

OTHER: Final = "~other"
LABEL_SETS_LIMIT: Final = 2_000
# A histogram has about twenty series for each label set.
HISTOGRAMS_LIMIT: Final = 500
IDLE_SCRAPES: Final = 240
"""An hour, with a scrape every 15 seconds."""

Child = TypeVar("Child")


class Scrapes:
    """Counts scrapes: the clock of the metrics."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class _Used(Generic[Child]):
    """A child, and at which scrape it was last used."""

    __slots__ = ("child", "scrape")

    def __init__(self, child: Child, scrape: int) -> None:
        self.child = child
        self.scrape = scrape


class Family(Generic[Child]):
    """The children of one metric, by their label values."""

    __slots__ = ("_capped", "_children", "_full_at", "_limit", "_make", "_remove", "_rooms", "_scrapes", "_tenant")

    def __init__(
        self, make: Callable[..., Child], labels: Sequence[str], *, capped: Sequence[str], limit: int,
        remove: Callable[..., None], scrapes: Scrapes,
    ) -> None:  # fmt: skip
        """Keep what `make` returns for label values; past `limit` sets, `capped` labels have the value `~other`."""
        self._make = make
        self._remove = remove
        self._capped = tuple(name in capped for name in labels)
        self._limit = limit
        self._scrapes = scrapes
        self._tenant = labels.index("tenant") if "tenant" in labels else None
        self._children: dict[tuple[str, ...], _Used[Child]] = {}
        self._rooms: dict[str, set[tuple[str, ...]]] = {}
        """The label sets of each tenant, without those of `~other`, which never give way."""
        self._full_at: dict[str, int] = {}
        """At which scrape there was no room for a tenant: until the next one there is none either."""

    def __call__(self, *values: str) -> Child:
        """Return the child of these label values, in the order of the labels."""
        used = self._children.get(values)
        if used is None:
            return self._add(values)
        used.scrape = self._scrapes.number
        return used.child

    def forget(self, *values: str) -> None:
        """Remove a label set; one that is counted in `~other` has no series of its own to remove."""
        if values in self._room(values):
            self._give_up(values)

    def _room(self, values: tuple[str, ...]) -> set[tuple[str, ...]]:
        return self._rooms.setdefault("" if self._tenant is None else values[self._tenant], set())

    def _add(self, values: tuple[str, ...]) -> Child:
        # The labels that are not capped have a small, closed set of values (tenants, outcomes).
        if any(self._capped) and len(self._children) >= self._limit and not self._make_room(self._room(values), values):
            values = tuple(OTHER if capped else value for value, capped in zip(values, self._capped, strict=True))
            if values in self._children:
                return self._children[values].child
        else:
            self._room(values).add(values)
        used = self._children[values] = _Used(self._make(*values), self._scrapes.number)
        return used.child

    def _make_room(self, own: set[tuple[str, ...]], values: tuple[str, ...]) -> bool:
        """Have a label set give way to one of the tenant whose sets are `own`; return whether there was one."""
        tenant = "" if self._tenant is None else values[self._tenant]
        if self._full_at.get(tenant) == self._scrapes.number:
            return False
        largest = max(self._rooms.values(), key=len)
        if len(largest) > len(own) + 1:
            self._give_up(min(largest, key=self._last_used))
            return True
        oldest = min(own, key=self._last_used, default=None)
        if oldest is not None and self._scrapes.number - self._last_used(oldest) >= IDLE_SCRAPES:
            self._give_up(oldest)
            return True
        self._full_at[tenant] = self._scrapes.number
        return False

    def _last_used(self, values: tuple[str, ...]) -> int:
        return self._children[values].scrape

    def _give_up(self, values: tuple[str, ...]) -> None:
        self._room(values).remove(values)
        del self._children[values]
        self._remove(*values)


class Snapshot(Collector):
    """A gauge whose label sets are replaced together, so that no scrape sees half of a refresh."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, labels: Sequence[str]) -> None:
        """Register an empty gauge."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._values: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show exactly these values, by label values."""
        self._values = dict(values)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Describe the gauge to the registry, without samples."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the values of the last replacement."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]


class Declare:
    """Declares metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.scrapes = Scrapes()

    def counters(
        self, name: str, documentation: str, labels: Sequence[str], *, capped: Sequence[str] = ()
    ) -> Family[Counter]:
        """Declare a counter with labels."""
        counter = Counter(name, documentation, labels, registry=self._registry)
        return Family(
            counter.labels, labels, capped=capped, limit=LABEL_SETS_LIMIT, remove=counter.remove, scrapes=self.scrapes
        )

    def split_counters(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        last: tuple[str, Sequence[str]],
        *,
        capped: Sequence[str] = (),
        limit: int = LABEL_SETS_LIMIT,
    ) -> Family[tuple[Counter, ...]]:
        """Declare a counter whose `last` label (name, values) has a fixed set of values, all created together.

        Otherwise `rate` would miss the first failure, whose series does not exist before, and a ratio would have no
        value until both sides had been counted.
        """
        last_label, last_values = last
        counter = Counter(name, documentation, (*labels, last_label), registry=self._registry)

        def make(*values: str) -> tuple[Counter, ...]:
            return tuple(counter.labels(*values, value) for value in last_values)

        def remove(*values: str) -> None:
            for value in last_values:
                counter.remove(*values, value)

        return Family(make, labels, capped=capped, limit=limit, remove=remove, scrapes=self.scrapes)

    def histograms(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        *,
        capped: Sequence[str],
    ) -> Family[Histogram]:
        """Declare a histogram with labels."""
        histogram = Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)
        return Family(
            histogram.labels, labels, capped=capped, limit=HISTOGRAMS_LIMIT, remove=histogram.remove,
            scrapes=self.scrapes,
        )  # fmt: skip

    def histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        """Declare a histogram without labels."""
        return Histogram(name, documentation, buckets=buckets, registry=self._registry)

    def snapshot(self, name: str, documentation: str, labels: Sequence[str]) -> Snapshot:
        """Declare a gauge that is replaced as a whole."""
        return Snapshot(self._registry, name, documentation, labels)
