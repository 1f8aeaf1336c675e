"""Decides on the tenant itself: its users, its calendar, its duplicates, and the emergency stop."""

from dataclasses import replace
from datetime import timedelta

from token_ledger.core.batch import administration
from token_ledger.core.batch.books import Books, last_id
from token_ledger.core.batch.outcomes import Changed, Code, Refused, StopAnswer
from token_ledger.core.model.event import NEWEST
from token_ledger.core.model.plain_data import calendar_change_data, calendar_rule_data, cost_centers_data
from token_ledger.core.model.tenant import Erasure, with_cost_centers
from token_ledger.core.model.window import Calendar

FURTHEST = timedelta(days=731)
"""How far ahead a change of the calendar may be planned: two years."""


def set_users(books: Books, command: administration.SetUsers) -> Changed:
    """Add users, or replace their cost centers from the first instant on that is given; earlier ones stay."""
    users = books.loaded.users
    before = {each.user: cost_centers_data(users[each.user]) for each in command.users if each.user in users}
    for given in command.users:
        users[given.user] = books.writes.users[given.user] = with_cost_centers(users.get(given.user), given)
    books.config = replace(books.config, has_users=True)
    after = {each.user: cost_centers_data(users[each.user]) for each in command.users}
    entry = books.audit(command, "users.set", f"{len(command.users)} users", before, after)
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def erase_user(books: Books, command: administration.EraseUser) -> Changed | Refused:
    """Replace a user's name by a pseudonym, in everything up to this batch; sums stay as they are.

    Journals are renamed in slices afterwards; until then, rows that are loaded are given the pseudonym.
    """
    if any(erasure.user == command.user for erasure in books.config.erasures):
        detail = "this user is being erased already; wait until that is done"
        return Refused(Code.ERASURE_UNDER_WAY, detail, "user")
    if not command.known:
        return Refused(Code.USER_NOT_FOUND, "nothing is known of this user; check the name", "user")
    # The entry must not have the name, so it shows the pseudonym, which is made of the entry's own id.
    pseudonym = f"erased-{books.next_id}"
    entry = books.audit(command, "user.erase", pseudonym, None, None)
    erasure = Erasure(command.user, pseudonym, last_id(books.sequence))
    books.config = replace(books.config, erasures=(*books.config.erasures, erasure))
    books.writes.erasures.append(erasure)
    books.loaded.users.pop(command.user, None)  # whoever comes under the name from now on is someone else
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry, under_way=True)


def set_calendar(books: Books, command: administration.SetCalendar) -> Changed | Refused:
    """Change the calendar from an instant on, in place of every change that is planned for then or later.

    Reports about the past keep the calendar that calls were booked by, so the change lies in the future.
    """
    # Calls may be posted as far ahead as this, and their hour and day must not depend on when the change is known.
    earliest = books.now + NEWEST
    effective_from = command.effective_from or earliest
    if effective_from < earliest:
        detail = f"effective_from {effective_from.isoformat()} is too soon; the earliest is {earliest.isoformat()}"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    latest = books.now + FURTHEST
    if effective_from > latest:
        detail = f"effective_from {effective_from.isoformat()} is too late; the latest is {latest.isoformat()}"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    first, changes = books.config.calendar.first, books.config.calendar.changes
    kept = tuple(change for change in changes if change[0] < effective_from)
    books.config = replace(books.config, calendar=Calendar(first, (*kept, (effective_from, command.rule))))
    books.forget_windows()
    before = calendar_rule_data(kept[-1][1] if kept else first)
    if replaced := [calendar_change_data(*change) for change in changes[len(kept) :]]:
        before["replaced"] = replaced
    entry = books.audit(command, "calendar.set", "calendar", before, calendar_change_data(effective_from, command.rule))
    books.writes.calendar_changes.append((entry.audit_id, effective_from, command.rule))
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def set_duplicates(books: Books, command: administration.SetDuplicates) -> Changed:
    """Let later reports of a provider's response be the same call, or each a call of its own."""
    before = books.config.finds_duplicates
    books.config = replace(books.config, finds_duplicates=command.found)
    books.writes.finds_duplicates.append(command.found)
    entry = books.audit(command, "duplicates.set", "duplicates", {"found": before}, {"found": command.found})
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def stop_tenant(books: Books, command: administration.StopTenant) -> StopAnswer:
    """Stop every call of the tenant, or resume them."""
    before = books.config.stopped
    books.config = replace(books.config, stopped=command.reason)
    books.writes.stops.append(command.reason)
    action = "tenant.resume" if command.reason is None else "tenant.stop"
    entry = books.audit(command, action, "tenant", {"stopped": before}, {"stopped": command.reason})
    books.note_key(command, "audit", entry.audit_id)
    return StopAnswer(entry, command.reason)
