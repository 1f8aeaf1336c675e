"""A ledger in memory: the core's books, with every row kept between batches as storage would keep it."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

from tests.core.given import EarlierAccounts
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.batch.rollup_keys import RollupKey
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.account import Account, LimitEntry, ThresholdEvent
from token_ledger.core.model.event import OLDEST
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.reservation import HoldState
from token_ledger.core.model.run import RunState
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.window import Calendar, CalendarRule


class MemoryLedger:
    """One tenant."""

    def __init__(self, prices: PriceBook, zone: tzinfo) -> None:
        self.prices = prices
        self.config = TenantConfig(TenantId(1), 1, Calendar(CalendarRule(zone)))
        self.rows = Loaded()
        self.accounts: dict[int, Account] = {}
        self.hourly_daily: dict[RollupKey, list[int]] = {}
        self.daily_tags: dict[tuple[datetime, str, str], list[int]] = {}
        self.run_usage: dict[tuple[int, str, str, str], list[int]] = {}
        self.limit_entries: list[LimitEntry] = []
        self.thresholds: list[ThresholdEvent] = []
        self.booked_at: dict[int, datetime] = {}
        self.sequence = 0

    def batch(self, now: datetime, commands: Sequence[Command]) -> list[Outcome]:
        """Decide one batch and keep what it changed."""
        self.sequence += 1
        self.rows.accounts = list(self.accounts.values())
        self.rows.spellings = self.rows.model_names
        self.rows.booked_models = [*dict.fromkeys(self.rows.model_names.values())]
        self.rows.due = [
            reservation.reservation_id
            for reservation in self.rows.reservations.values()
            if reservation.state is HoldState.HELD and reservation.expires_at <= now
        ]
        for known in self.rows.responses.values():
            for event_id in [each for each in known if now - self.booked_at[each] > OLDEST]:
                del known[event_id]
        self.rows.earlier_accounts = EarlierAccounts(self.accounts.values())
        self.rows.attachable_runs = {}
        for run in sorted(self.rows.runs.values(), key=lambda run: run.run_id):
            if run.external_id is not None and run.state is RunState.OPEN:
                self.rows.attachable_runs.setdefault(run.external_id, []).append(run.run_id)
        books = Books(self.config, self.prices, self.sequence, now, self.rows)
        outcomes = decide(books, commands)
        self.config = books.config
        self.booked_at.update((each.event_id, now) for each in (*books.writes.events, *books.writes.parts))
        self.rows.model_names = {**self.rows.model_names, **books.writes.model_names}
        self.rows.events.update((event.event_id, event) for event in books.writes.corrections)
        self.accounts.update((account.account_id, account) for account in books.writes.new_accounts)
        for key, amounts in books.writes.rollups.items():
            _add(self.hourly_daily.setdefault(key, [0] * 7), amounts)
        for tag_key, amounts in books.writes.tag_rollups.items():
            _add(self.daily_tags.setdefault(tag_key, [0] * 7), amounts)
        for run_key, amounts in books.writes.run_rollups.items():
            _add(self.run_usage.setdefault(run_key, [0] * 7), amounts)
        self.limit_entries += books.writes.limit_entries
        self.thresholds += books.writes.thresholds
        return outcomes


def _add(sums: list[int], amounts: list[int]) -> None:
    for position, amount in enumerate(amounts):
        sums[position] += amount
