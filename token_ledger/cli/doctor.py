"""The checks of the command `doctor`: each returns one line, with what to do where something is wrong.

A warning is for what may be intended; only failures make the exit status 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from token_ledger.config import Settings
from token_ledger.storage.clocks import BOUND_SECONDS
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.migrations import head_revision
from token_ledger.storage.upkeep.diagnosis import ENDING_DAYS, Books, Facts, read_facts
from token_ledger.storage.upkeep.leadership import LEASE_SECONDS, SILENT_LEADER_SECONDS
from token_ledger.worker.partitions import MONTHS_AHEAD

OLDEST_VERSION = 15
LONG_TRANSACTION_SECONDS = 60
CLOCK_SECONDS = 5
"""Callers' clocks may be five minutes off; a few seconds between our own machines mean that one is not in sync."""
OVERDUE_SECONDS = 60
PRICES_DAYS = 60
MOST_DEAD_ROWS = 20_000
FEWEST_CONNECTIONS_LEFT = 10
DAY_SECONDS = 86_400


class Level(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warn"
    FAILURE = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings of all checks that were possible."""

    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Whether nothing has failed."""
        return all(finding.level is not Level.FAILURE for finding in self.findings)

    def as_text(self) -> str:
        """Return the findings as text, one line each."""
        return "\n".join(
            f"{finding.level:<4}  {finding.check}: {finding.found}"
            + (f" -> {finding.remedy}" if finding.remedy else "")
            for finding in self.findings
        )

    def as_json(self) -> dict[str, Any]:
        """Return the findings as a JSON value."""
        return {"well": self.well, "findings": [asdict(finding) for finding in self.findings]}


async def examine(settings: Settings, url: str) -> Diagnosis:
    """Check the database of a service and its settings."""
    head = head_revision()
    try:
        facts = await read_facts(
            url,
            months_ahead=MONTHS_AHEAD,
            long_seconds=LONG_TRANSACTION_SECONDS,
            revision=head,
            retention_months=settings.retention_months,
        )
    except DatabaseAway as error:
        return Diagnosis((_away(str(error)), *_settings(settings)))
    except Exception as error:  # a wrong password, a missing database: whatever it is, report it
        return Diagnosis((_away(f"{type(error).__name__}: {error}"), *_settings(settings)))
    return judge(facts, head, settings)


def judge(facts: Facts, head: str | None, settings: Settings) -> Diagnosis:
    """Return the findings for facts about a database."""
    findings = [check(facts) for check in _SERVER]
    findings.append(_schema(facts, head))
    if facts.revision is not None:
        findings += [check(facts) for check in _OF_SCHEMA]
    if facts.books is not None:
        findings.append(_readable(facts))
        findings += [check(facts.books) for check in _OF_BOOKS]
    return Diagnosis((*findings, *_settings(settings)))


def _away(why: str) -> Finding:
    return Finding(
        "database", Level.FAILURE, f"can't be reached or read: {why}",
        "start PostgreSQL, or correct TOKEN_LEDGER_DATABASE_URL",
    )  # fmt: skip


def _version(facts: Facts) -> Finding:
    found = f"PostgreSQL {facts.version_text}"
    if facts.version < OLDEST_VERSION:
        return Finding("database", Level.FAILURE, found, f"upgrade to PostgreSQL {OLDEST_VERSION} or later")
    return Finding("database", Level.OK, found)


def _durability(facts: Facts) -> Finding:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if facts.settings[name] == "off"]
    if off:
        found = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a crash can lose confirmed calls"
        return Finding("durability", Level.WARNING, found, "turn it on in postgresql.conf, unless this is a test")
    return Finding("durability", Level.OK, "commits survive a crash")


def _clock(facts: Facts) -> Finding:
    ahead = facts.clock_seconds_ahead
    if abs(ahead) > BOUND_SECONDS:
        found = (
            f"the database is {_age(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine: processes whose"
            f" clock differs from the database's by more than {BOUND_SECONDS:.0f} s book nothing (503)"
        )
        return Finding("clock", Level.FAILURE, found, "synchronize both clocks (NTP)")
    if abs(ahead) > CLOCK_SECONDS:
        found = f"the database is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
        return Finding("clock", Level.WARNING, found, "synchronize both clocks (NTP); the database's clock decides")
    return Finding("clock", Level.OK, f"{abs(ahead) * 1000:.0f} ms from the database's clock")


def _connections(facts: Facts) -> Finding:
    left = facts.connections_allowed - facts.connections
    found = f"{facts.connections} of {facts.connections_allowed} are in use"
    if left < FEWEST_CONNECTIONS_LEFT:
        return Finding(
            "connections", Level.WARNING, found,
            "raise max_connections, or lower TOKEN_LEDGER_READER_CONNECTIONS (each process takes its readers,"
            " writers and one for the worker)",
        )  # fmt: skip
    return Finding("connections", Level.OK, found)


def _long_transactions(facts: Facts) -> Finding:
    if facts.long_transactions:
        longest = facts.long_transactions[0]
        found = (
            f"{longest.application} (pid {longest.pid}) has held a snapshot for {longest.seconds} s, so vacuum can't"
            " remove old row versions and every batch gets slower"
        )
        remedy = f"end it: select pg_terminate_backend({longest.pid})" if longest.pid else "commit or roll it back"
        return Finding("long transactions", Level.WARNING, found, remedy)
    return Finding("long transactions", Level.OK, f"none is older than {LONG_TRANSACTION_SECONDS} s")


def _autovacuum(facts: Facts) -> Finding:
    if facts.settings["autovacuum"] == "off":
        return Finding("autovacuum", Level.FAILURE, "is off: tables grow without limit", "set autovacuum = on")
    return Finding("autovacuum", Level.OK, "is on")


def _schema(facts: Facts, head: str | None) -> Finding:
    if facts.revision is None:
        return Finding("schema", Level.FAILURE, "there is none", "run token-ledger migrate as the owner")
    if facts.revision != head:
        found = f"is {facts.revision}, this version needs {head}"
        remedy = "run token-ledger migrate as the owner, or start the newer version that made this schema"
        return Finding("schema", Level.FAILURE, found, remedy)
    return Finding("schema", Level.OK, f"is {facts.revision}")


def _role(facts: Facts) -> Finding:
    remedy = "run token-ledger migrate as the owner"
    if facts.role_powers is None:
        return Finding("role", Level.FAILURE, "token_ledger_app does not exist", remedy)
    if not facts.role_can_be_taken:
        found = "the role that logs in is not allowed to use token_ledger_app"
        return Finding("role", Level.FAILURE, found, "grant token_ledger_app to it")
    if facts.owned_by_role:
        found = f"token_ledger_app owns {_some(facts.owned_by_role)}, so row-level security does not bind it"
        return Finding("role", Level.FAILURE, found, "give them to another role: alter table … owner to …")
    if facts.role_powers:
        found = f"token_ledger_app has privileges that it must not have: {', '.join(facts.role_powers)}"
        powers = " ".join(f"no{power}" for power in facts.role_powers)
        return Finding(
            "role", Level.FAILURE, found, f"alter role token_ledger_app {powers.replace('nocanlogin', 'nologin')}"
        )
    return Finding("role", Level.OK, "token_ledger_app owns nothing and has no privileges")


def _fence(facts: Facts) -> Finding:
    if facts.unfenced_tables:
        found = f"{_some(facts.unfenced_tables)} would show rows of every tenant"
        remedy = "alter table … enable row level security; it needs the policy tenant_rows and no others beside it"
        return Finding("row-level security", Level.FAILURE, found, remedy)
    return Finding("row-level security", Level.OK, "every table with tenants' rows is protected")


def _partitions(facts: Facts) -> Finding:
    missing = facts.missing_partitions
    if missing:
        # Partitions are made in order, so all four are missing only if this month's is.
        now = len(missing) > MONTHS_AHEAD
        found = f"none for {_some(missing)}" + (": nothing can be booked" if now else "")
        level = Level.FAILURE if now or len(missing) == MONTHS_AHEAD else Level.WARNING
        remedy = "start a worker (token-ledger worker), or: select token_ledger_add_partitions(3)"
        return Finding("partitions", level, found, remedy)
    return Finding("partitions", Level.OK, f"exist for this month and {MONTHS_AHEAD} months ahead")


def _dead_rows(facts: Facts) -> Finding:
    full = [
        f"{table} has {dead} for {live} live ones"
        for table, (live, dead) in facts.dead_rows.items()
        if dead > MOST_DEAD_ROWS and dead > 2 * live
    ]
    if full:
        remedy = "end long transactions, then vacuum these tables; check whether autovacuum's workers are all busy"
        return Finding("dead rows", Level.WARNING, "; ".join(full), remedy)
    return Finding("dead rows", Level.OK, "few in the tables that change most")


def _leader(facts: Facts) -> Finding:
    if facts.leader is None:
        found = "nobody leads: no hold expires by itself, no partition is made ahead"
        return Finding("worker", Level.FAILURE, found, "start token-ledger worker, or serve without --no-worker")
    silent = facts.leader_silent_seconds
    if silent is not None and silent > LEASE_SECONDS:
        found = (
            f"{facts.leader} leads, but has said nothing for {silent:.0f} s: it is frozen, or can't reach the server"
        )
        ends = f"after {SILENT_LEADER_SECONDS} s its session ends"
        remedy = f"wait: {ends}, and another process takes over; if none does, start token-ledger worker"
        return Finding("worker", Level.FAILURE, found, remedy)
    return Finding("worker", Level.OK, f"{facts.leader} leads")


def _readable(facts: Facts) -> Finding:
    if facts.unreadable_tenants:
        found = f"the rows of {_some(facts.unreadable_tenants)} can't be read; the checks below are of the others"
        return Finding("books", Level.FAILURE, found, "token-ledger verify --tenant NAME shows the database's words")
    return Finding("books", Level.OK, "the rows of every tenant can be read")


def _prices(books: Books) -> Finding:
    remedy = "run token-ledger migrate: it fills the price book"
    if not books.prices or books.prices_age_seconds is None:
        return Finding(
            "price book", Level.FAILURE, "is empty: every call is refused because its model is unknown", remedy
        )
    found = f"{books.prices} prices, the newest added {_age(books.prices_age_seconds)} ago"
    if books.prices_age_seconds > PRICES_DAYS * DAY_SECONDS:
        newer = "update token-ledger, then token-ledger prices refresh shows what has changed"
        return Finding("price book", Level.WARNING, found, newer)
    return Finding("price book", Level.OK, found)


def _models(books: Books) -> Finding:
    if books.ending_models:
        ending = [f"{model} ({ends_on})" for model, ends_on in books.ending_models]
        found = f"used in the last {ENDING_DAYS} days, and at or near the end of their life: {_some(ending)}"
        remedy = "let callers change to another model; token-ledger prices describe says when a model ends"
        return Finding("models", Level.WARNING, found, remedy)
    return Finding("models", Level.OK, f"none that is in use ends within {ENDING_DAYS} days, as far as is known")


def _tenants_clocks(books: Books) -> Finding:
    if books.tenants_ahead:
        ahead = [f"{name} by {_age(seconds)}" for name, seconds in books.tenants_ahead]
        found = f"ahead of the database's: {_some(ahead)}; the database's clock was wrong when they last booked"
        remedy = (
            "wait, if the database's clock is right now: a worker puts them back within two minutes; otherwise set it"
            " (docs/operations/clocks.md)"
        )
        return Finding("tenants' clocks", Level.WARNING, found, remedy)
    return Finding("tenants' clocks", Level.OK, "none is ahead of the database's")


def _holds(books: Books) -> Finding:
    return _overdue("holds", "expire", books.overdue_hold_seconds)


def _grants(books: Books) -> Finding:
    return _overdue("grants", "lapse", books.overdue_grant_seconds)


def _overdue(what: str, verb: str, seconds: float | None) -> Finding:
    if seconds is not None and seconds > OVERDUE_SECONDS:
        found = f"the oldest should have {verb}d {_age(seconds)} ago"
        return Finding(what, Level.FAILURE, found, "check that a worker is running, and what it logs")
    return Finding(what, Level.OK, f"none is overdue by more than {OVERDUE_SECONDS} s")


def _quarantine(books: Books) -> Finding:
    if books.quarantined:
        found = f"{books.quarantined} items, the oldest of {books.oldest_quarantined_at:%Y-%m-%d}: unbooked spend"
        return Finding(
            "quarantine",
            Level.WARNING,
            found,
            "read GET /v1/quarantine, send corrected reports, then POST …/resolve or …/dismiss",
        )
    return Finding("quarantine", Level.OK, "is empty")


def _retention(books: Books) -> Finding:
    if books.due_months:
        remedy = "wait for the worker; if it stays, read its log: it can't drop a partition that is being read"
        return Finding("retention", Level.WARNING, f"{_some(books.due_months)} should have been dropped", remedy)
    return Finding("retention", Level.OK, "nothing is kept longer than it should be")


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is not None and settings.key_pepper is None:
        found = "TOKEN_LEDGER_KEY_PEPPER is not set, so every data directory has a pepper of its own"
        yield Finding(
            "pepper",
            Level.WARNING,
            found,
            "set the same for all processes, or keys made by one are unknown to the others",
        )
    else:
        yield Finding("pepper", Level.OK, "is the same for all processes")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _age(seconds: float) -> str:
    for name, length in (("days", DAY_SECONDS), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


_SERVER: tuple[Callable[[Facts], Finding], ...] = (
    _version, _durability, _autovacuum, _clock, _connections, _long_transactions,
)  # fmt: skip
_OF_SCHEMA: tuple[Callable[[Facts], Finding], ...] = (_role, _fence, _partitions, _dead_rows, _leader)
_OF_BOOKS: tuple[Callable[[Books], Finding], ...] = (
    _prices,
    _models,
    _tenants_clocks,
    _holds,
    _grants,
    _quarantine,
    _retention,
)
