"""Owns the rows that one batch of one tenant decides on; what was not loaded does not exist for it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from token_ledger.core.batch.on_demand import OnDemand
from token_ledger.core.batch.outcomes import Denial
from token_ledger.core.model.account import Account, AccountKey, Grant
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.budget import Budget
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.frozen import value
from token_ledger.core.model.increase import Increase
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.repetition import KNOWN_BY_ID
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run, RunStep
from token_ledger.core.model.tenant import User
from token_ledger.core.model.transfer import Transfer


@value
class StoredKey:
    """What an idempotency key was used for: the request's fingerprint and the row it led to."""

    fingerprint: bytes
    answer: str
    target_id: int


class RowMissing(Exception):
    """An idempotency key leads to a row that is not there: its partition is detached, for example."""


@value
class KeptEvent:
    """A quarantined event: why it could not be booked, and what came, as plain data."""

    quarantine_id: int
    source: str
    key: str
    code: str
    detail: str
    body: Any


AskedName = tuple[str, str]
"""Provider and model as callers name them."""


class Loaded:
    """Rows of one tenant as they stood under its lock."""

    booked_tokens = OnDemand(int)
    booked_nanos = OnDemand(int)
    """What all events of the tenant add up to, those of this batch included once they are booked."""
    keys = OnDemand(dict[tuple[str, str], StoredKey])
    reservations = OnDemand(dict[int, Reservation])
    due = OnDemand(list[int])
    runs = OnDemand(dict[int, Run])
    accounts = OnDemand(list[Account])
    events = OnDemand(dict[int, UsageEvent])
    denials = OnDemand(dict[int, Denial])
    kept = OnDemand(dict[int, KeptEvent])
    archived_budgets = OnDemand(dict[int, Budget])
    grants = OnDemand(dict[int, Grant])
    """The unlapsed grants of accounts whose grants can change in this batch, and grants that repeated keys led to."""
    increases = OnDemand(dict[int, Increase])
    users = OnDemand(dict[str, User])
    earlier_accounts = OnDemand(dict[AccountKey, Account])
    """By the key of an account that does not exist yet: the newest before it of the same budget and subject."""
    opened_before: OnDemand[Sequence[Account]] = OnDemand(tuple)
    """The accounts that the uncommitted batch before has opened."""
    booked_models: OnDemand[Sequence[ModelName]] = OnDemand(tuple)
    """The models in the books, the first first, if a command names one in a way that was not used before."""
    spellings: OnDemand[Mapping[AskedName, ModelName]] = OnDemand(dict)
    """All names that were used before with what they are in the books, if a command renames a model."""
    model_names: OnDemand[Mapping[AskedName, ModelName]] = OnDemand(dict)
    """What names are in the books that were used before; other processes' batches share it, so it is never changed."""
    attachable_runs = OnDemand(dict[str, list[int]])
    """Open runs by external id, the newest last: back to the first that no command of the batch ends."""
    steps = OnDemand(dict[int, RunStep])
    audit = OnDemand(dict[int, AuditEntry])
    corrected = OnDemand(dict[int, int])
    """Of the events that commands take back, those that were taken back before, with the events that did."""
    recostings = OnDemand(dict[int, tuple[UsageEvent, ...]])
    """By the events that commands re-cost or take back: what was re-costed of them before, the newest last."""
    recosted = OnDemand(dict[int, tuple[RecostedEvent, ...]])
    """What this batch has re-costed of them."""
    are_as_found = OnDemand(bool)
    """Whether all calls to re-cost are what they were when they were found, but for what this batch does."""
    responses = OnDemand(dict[str, dict[int, UsageEvent]])
    """By response ids of commands: the calls that are known by them, by event id."""
    transfers = OnDemand(dict[int, list[Transfer]])
    """By the account that they are from, those that what is on loaded accounts may have gone along with."""

    summed_days = OnDemand(set[datetime])
    """Days of imported calls, by their start, of which the tenant has calls in sums only: their keys are gone."""
    kept_since: datetime | None = None
    """If there are any, or if old calls come from a spool: the instant from which on every call was booked under a key
    that is kept; None if all are."""

    def __init__(self, **given: Any) -> None:
        """Begin with some fields given."""
        vars(self).update(given)

    def recostings_of(self, event_id: int) -> tuple[UsageEvent, ...]:
        """Return what was re-costed of an event, before this batch and in it, the newest last."""
        before, new = self.recostings.get(event_id, ()), self.recosted.get(event_id)
        return before if new is None else (*before, *(each.as_event for each in new))

    def note_recostings(self, recostings: Iterable[RecostedEvent]) -> None:
        """Let later commands of this batch know what was re-costed."""
        for each in recostings:
            event_id = each.recosted.event_id
            self.recosted[event_id] = (*self.recosted.get(event_id, ()), each)

    def note_response(self, event: UsageEvent) -> None:
        """Let later reports be compared with a call, if it is one that its response id says something about."""
        if event.repetition in KNOWN_BY_ID and event.response_id is not None:
            self.responses.setdefault(event.response_id, {})[event.event_id] = event

    def model_name(
        self, prices: PriceBook, renamed: Mapping[AskedName, ModelName], provider: str, model: str
    ) -> ModelName:
        """Return what a model is called in the books: a name keeps its meaning, also if the price book changes.

        A new name of a model that was booked before joins it, also if the price book calls that otherwise by now, or
        an administrator has renamed it.
        """
        decided = self.model_names.get((provider, model)) or renamed.get((provider, model))
        if decided is not None:
            return decided
        name = prices.name_of(provider, model)
        if not model:
            return name
        if (provider, model) in self.booked_models:
            return ModelName(provider, model)
        known = chain(((each, each) for each in self.booked_models), renamed.items())
        return next((now for once, now in known if _is_same(prices, once, name, provider)), name)


def _is_same(prices: PriceBook, once: AskedName, name: ModelName, provider: str) -> bool:
    """Tell whether a model that is or was in the books is the one that has a name; without a provider any will do."""
    return prices.name_of(*once) == name or (not provider and once[1] == name.model)
