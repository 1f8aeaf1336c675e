"""Writes the tables of metrics from what the service registers."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from tests.documents.markdown import table
from token_ledger.observability.metrics import Metrics
from token_ledger.observability.requested_figures import REQUESTED_FIGURES


def metrics() -> str:
    """Return a row for every metric: name, kind, labels, what it counts."""
    registry = CollectorRegistry()
    Metrics(registry)
    rows = []
    for collector in registry._collector_to_names:
        [family] = collector.describe()  # type: ignore[attr-defined]
        labels: Sequence[str] = getattr(collector, "_labelnames", None) or getattr(collector, "_labels", None) or ()
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        names = ", ".join(f"`{label}`" for label in labels) or ("`version`" if family.type == "info" else "")
        rows.append((f"`{family.name}{suffix}`", family.type, names, family.documentation))
    return table(("metric", "kind", "labels", "what it shows"), sorted(rows))


def questions() -> str:
    """Return the expressions that answer what dashboards ask for by name."""
    return table(("asked for as", "expression"), [(name, f"`{text}`") for name, text in REQUESTED_FIGURES.items()])
