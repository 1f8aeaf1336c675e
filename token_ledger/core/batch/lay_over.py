"""Lays what an uncommitted batch decided over rows that were loaded without it, for the next batch."""

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.reservation import Reservation


def lay_over_runs(loaded: Loaded, before: Books) -> None:
    """Add the runs of the uncommitted batch before to loaded rows; which accounts are needed follows from them."""
    writes = before.writes
    loaded.runs.update((run.run_id, run) for run in (*writes.new_runs, *writes.changed_runs.values()))
    for run_id, run in before.loaded.runs.items():
        loaded.runs.setdefault(run_id, run)


def lay_over(loaded: Loaded, before: Books) -> None:
    """Add what the uncommitted batch before decided to rows that were loaded without it."""
    writes = before.writes
    loaded.keys.update(before.noted)
    loaded.reservations.update(touched_reservations(before))
    for event in (*writes.events, *writes.parts):
        loaded.events[event.event_id] = event
        if event.repetition is not None:
            loaded.note_response(event)
    if writes.corrections:
        loaded.corrected.update(before.loaded.corrected)
        loaded.recostings.update(before.loaded.recostings)
    loaded.denials.update((denial.denial_id, denial) for denial in writes.denials)
    loaded.kept.update((kept.quarantine_id, kept) for kept in writes.kept)
    loaded.steps.update((step.step_id, step) for step in writes.steps)
    for run in writes.new_runs:
        if run.external_id is not None:
            loaded.attachable_runs.setdefault(run.external_id, []).append(run.run_id)
    changed = {**writes.changed_accounts, **writes.changed_terms}
    changed.update((account.account_id, account) for account in writes.new_accounts)
    loaded.accounts = [account for account in loaded.accounts if account.account_id not in changed]
    loaded.accounts.extend(changed.values())
    for key, account in loaded.earlier_accounts.items():
        loaded.earlier_accounts[key] = changed.get(account.account_id, account)
    loaded.opened_before = tuple(writes.new_accounts)


def touched_reservations(before: Books) -> dict[int, Reservation]:
    """Return the holds that a batch gave, changed or ended, by id."""
    writes = before.writes
    touched = {hold.reservation_id: hold for hold in (*writes.new_reservations, *writes.other_holds)}
    touched.update(writes.changed_reservations)
    touched.update((hold.reservation_id, hold) for hold, _ in writes.ended_reservations)
    for event in writes.events:
        if event.reservation_id is not None:
            touched[event.reservation_id] = before.loaded.reservations[event.reservation_id]
    return touched
