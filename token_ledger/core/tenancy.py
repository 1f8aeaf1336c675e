"""Decides on the tenant itself: its users, its calendar, and the button that stops all of its calls."""

from dataclasses import replace
from datetime import timedelta

from token_ledger.core.administration import EraseUser, SetCalendar, SetUsers, StopTenant
from token_ledger.core.audit import change_state, rule_state, user_state
from token_ledger.core.books import Books
from token_ledger.core.event import NEWEST
from token_ledger.core.outcomes import Changed, Code, Outcome, Refused, StopAnswer
from token_ledger.core.window import Calendar

FURTHEST = timedelta(days=731)
"""How far ahead a change of the calendar may be planned: two years."""


def set_users(books: Books, command: SetUsers) -> Outcome:
    """Make users known, or replace what is known of them."""
    users = books.loaded.users
    before = {each.user: user_state(users[each.user]) for each in command.users if each.user in users}
    for user in command.users:
        users[user.user] = books.writes.users[user.user] = user
    books.config = replace(books.config, has_users=True)
    after = {user.user: user_state(user) for user in command.users}
    entry = books.audit(command, "users.set", f"{len(command.users)} users", before, after)
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def erase_user(books: Books, command: EraseUser) -> Outcome:
    """Put a pseudonym in a user's place, after everything else of the batch is written; sums stay as they are."""
    # The entry must not name whom it is about: what it shows is the pseudonym, which is made of its own id.
    pseudonym = f"erased-{books.next_id}"
    entry = books.audit(command, "user.erase", pseudonym, None, None)
    books.writes.erased_users.append((command.user, pseudonym))
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def set_calendar(books: Books, command: SetCalendar) -> Outcome:
    """Change the calendar from an instant on, in place of every change that is planned for then or later.

    What is reported about the past keeps the calendar it was booked by: nothing in force, or about to be, is replaced.
    """
    # A call may be posted as far ahead as this: its hour and day must not depend on when the change is known.
    earliest = books.now + NEWEST
    effective_from = command.effective_from or earliest
    if effective_from < earliest:
        detail = f"effective_from {effective_from.isoformat()} is too soon; the earliest is {earliest.isoformat()}"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    if effective_from > books.now + FURTHEST:
        detail = f"effective_from {effective_from.isoformat()} is more than two years ahead"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    first, changes = books.config.calendar.first, books.config.calendar.changes
    kept = tuple(change for change in changes if change[0] < effective_from)
    books.config = replace(books.config, calendar=Calendar(first, (*kept, (effective_from, command.rule))))
    books.forget_windows()
    before = rule_state(kept[-1][1] if kept else first)
    if replaced := [change_state(*change) for change in changes[len(kept) :]]:
        before["replaced"] = replaced
    entry = books.audit(command, "calendar.set", "calendar", before, change_state(effective_from, command.rule))
    books.writes.calendar_changes.append((entry.audit_id, effective_from, command.rule))
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry)


def stop_tenant(books: Books, command: StopTenant) -> Outcome:
    """Stop every call of the tenant, or let them go on."""
    before = books.config.stopped
    books.config = replace(books.config, stopped=command.reason)
    books.writes.stops.append(command.reason)
    action = "tenant.resume" if command.reason is None else "tenant.stop"
    entry = books.audit(command, action, "tenant", {"stopped": before}, {"stopped": command.reason})
    books.note_key(command, "audit", entry.audit_id)
    return StopAnswer(entry, command.reason)
