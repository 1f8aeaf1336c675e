"""Routes, a file per noun. They parse, authenticate, have a command decided or read, and return the answer."""

from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute, Route

from token_ledger.api.parameters import check_known_parameters
from token_ledger.api.routes import (
    accounts,
    api_keys,
    audit,
    budgets,
    calendar,
    cost_report,
    duplicates,
    event_list,
    events,
    health,
    identity_providers,
    imports,
    increases,
    live,
    me,
    model_names,
    operations,
    preflight,
    prices,
    quarantine,
    reconciliations,
    recostings,
    reports,
    reservations,
    reversals,
    runs,
    stop,
    tenants,
    tokens,
    triggers,
    users,
)

NOUNS = (
    reservations, preflight, runs, events, event_list, imports, reversals, quarantine, budgets, accounts, increases,
    triggers, reports, cost_report, reconciliations, live, users, prices, recostings, model_names, calendar, duplicates,
    stop, audit, api_keys, tokens, me, tenants, identity_providers, health,
)  # fmt: skip
"""In the order in which the documentation shows them."""


def hot_routes() -> list[Route]:
    """Return the routes of the operations that are called most."""
    return [hot.route() for hot in operations.HOT]


def add_to(app: FastAPI) -> None:
    """Add every route to an app. Those that are called most come first, because routes are tried in order."""
    app.router.routes.extend([*hot_routes(), *_routes_of_nouns()])


@cache
def _routes_of_nouns() -> tuple[BaseRoute, ...]:
    """Return the other routes. All apps of a process share what FastAPI makes of one for its first request."""
    together = APIRouter()
    for noun in NOUNS:
        # Prometheus and load balancers add parameters of their own to the routes of the process.
        checks = [] if noun is health else [Depends(check_known_parameters)]
        together.include_router(noun.router, dependencies=checks)
    return tuple(together.routes)
