"""The table of recurring work: what is done, how often, and by which function."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from token_ledger.observability.metrics import Metrics
from token_ledger.storage.database import Database
from token_ledger.worker.accounts import tend_accounts
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.gauges import refresh_gauges
from token_ledger.worker.holds import expire_due_holds
from token_ledger.worker.partitions import make_partitions
from token_ledger.worker.retention import Retention
from token_ledger.worker.rollups import RollupFolding
from token_ledger.worker.submission import Submit
from token_ledger.worker.tenants import Count, TenantFailures

EXPIRE_HOLDS_SECONDS = 1.0
ERASE_USERS_SECONDS = 1.0
TEND_ACCOUNTS_SECONDS = 5.0
FOLD_ROLLUPS_SECONDS = 5.0
REFRESH_GAUGES_SECONDS = 15.0
MAKE_PARTITIONS_SECONDS = 3_600.0
DROP_MONTHS_SECONDS = 3_600.0

ERASURE_VISIBLE_SECONDS = 3 * REFRESH_GAUGES_SECONDS
"""How long a finished erasure stays visible: every process drops the user from its metrics when it refreshes gauges."""


@dataclass(frozen=True, slots=True)
class Duty:
    """One piece of recurring work, repeated with a pause of `seconds` in between."""

    name: str
    seconds: float
    do: Callable[[], Awaitable[object]]


def leader_duties(database: Database, submit: Submit, retention_months: int | None, count: Count) -> list[Duty]:
    """Return what the leader does for all tenants; months are dropped only if the number to keep is given.

    `count` is told of the tenants that a duty fails for.
    """

    def failures(duty: str) -> TenantFailures:
        return TenantFailures(duty, count)

    expire, tend = failures("expire due holds"), failures("tend accounts")
    erasures = Erasures(database, ERASURE_VISIBLE_SECONDS, failures("erase users"))
    folding = RollupFolding(database, failures("fold roll-ups"))
    duties = [
        Duty("expire due holds", EXPIRE_HOLDS_SECONDS, partial(expire_due_holds, database, submit, expire)),
        Duty("erase users", ERASE_USERS_SECONDS, erasures.erase_users),
        Duty("tend accounts", TEND_ACCOUNTS_SECONDS, partial(tend_accounts, database, submit, tend)),
        Duty("fold roll-ups", FOLD_ROLLUPS_SECONDS, folding.fold_rollups),
        Duty("make partitions", MAKE_PARTITIONS_SECONDS, partial(make_partitions, database)),
    ]
    if retention_months is not None:
        retention = Retention(database, retention_months, failures("drop old months"))
        duties.append(Duty("drop old months", DROP_MONTHS_SECONDS, retention.drop_months))
    return duties


def process_duty(database: Database, metrics: Metrics) -> Duty:
    """Return what every process does for itself: its gauges, because Prometheus reads each process."""
    failures = TenantFailures("refresh gauges", metrics.count_duty_failure)
    return Duty("refresh gauges", REFRESH_GAUGES_SECONDS, partial(refresh_gauges, database, metrics, failures))
