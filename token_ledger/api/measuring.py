"""Measures how long requests take."""

from starlette.types import Scope

from token_ledger.observability.metrics import Metrics

UNKNOWN_ROUTE = "unknown"
"""The template of a request that no route has seen."""


def count_request(metrics: Metrics, scope: Scope, status: int, seconds: float) -> None:
    """Count a request whose response begins, by the template of its route; one that is refused at the door has none."""
    template = getattr(scope.get("route"), "path", None) or UNKNOWN_ROUTE
    metrics.http_request_seconds(template, scope["method"], str(status)).observe(seconds)
