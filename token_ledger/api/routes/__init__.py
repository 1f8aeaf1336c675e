"""Routes, a file per noun. They parse, authenticate, have a command decided or read, and return the answer."""

from fastapi import Depends, FastAPI
from starlette.routing import Route

from token_ledger.api.parameters import check_known_parameters
from token_ledger.api.routes import (
    accounts,
    api_keys,
    audit,
    budgets,
    calendar,
    duplicates,
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
    reservations, preflight, operations, runs, events, imports, reversals, quarantine, budgets, accounts, increases,
    triggers, reports, reconciliations, live, users, prices, recostings, model_names, calendar, duplicates, stop, audit,
    api_keys, tokens, me, tenants, identity_providers, health,
)  # fmt: skip
"""In the order in which the documentation shows them."""


def hot_routes() -> list[Route]:
    """Return the routes of the operations that are called most."""
    return [operation.route() for operation in operations.HOT]


def add_to(app: FastAPI) -> None:
    """Add every route to an app. Those that are called most come first, because routes are tried in order."""
    app.router.routes.extend(hot_routes())
    for noun in NOUNS:
        # Prometheus and load balancers add parameters of their own to the routes of the process.
        checks = [] if noun is health else [Depends(check_known_parameters)]
        app.include_router(noun.router, dependencies=checks)
