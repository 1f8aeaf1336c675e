"""Decides on the tenant itself: its users, its calendar, and the button that stops all of its calls."""

from dataclasses import replace

from token_ledger.core.administration import EraseUser, SetCalendar, SetUsers, StopTenant
from token_ledger.core.audit import rule_state, user_state
from token_ledger.core.books import Books, last_id
from token_ledger.core.event import NEWEST
from token_ledger.core.outcomes import Changed, Code, Outcome, Refused
from token_ledger.core.tenant import Erasure
from token_ledger.core.window import Calendar


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
    """Put a pseudonym in a user's place, in everything up to this batch; sums stay as they are.

    Journals are renamed in slices afterwards; until that is done, what is loaded of them is read as if it were.
    """
    if any(erasure.user == command.user for erasure in books.config.erasures):
        detail = "this user is being erased already; when it is done, there is no such user"
        return Refused(Code.ERASURE_UNDER_WAY, detail, "user")
    if not command.known:
        return Refused(Code.USER_NOT_FOUND, "there is no such user", "user")
    # The entry must not name whom it is about: what it shows is the pseudonym, which is made of its own id.
    pseudonym = f"erased-{books.next_id}"
    entry = books.audit(command, "user.erase", pseudonym, None, None)
    erasure = Erasure(command.user, pseudonym, last_id(books.sequence))
    books.config = replace(books.config, erasures=(*books.config.erasures, erasure))
    books.writes.erasures.append(erasure)
    books.note_key(command, "audit", entry.audit_id)
    return Changed(entry, under_way=True)


def set_calendar(books: Books, command: SetCalendar) -> Outcome:
    """Change the calendar from an instant on. What is reported about the past keeps the calendar it was booked by."""
    # A call may be posted as far ahead as this: its hour and day must not depend on when the change is known.
    earliest = books.now + NEWEST
    effective_from = command.effective_from or earliest
    if effective_from < earliest:
        detail = f"effective_from {effective_from.isoformat()} is too soon; the earliest is {earliest.isoformat()}"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    calendar = books.config.calendar
    if calendar.changes and effective_from <= calendar.changes[-1][0]:
        detail = f"a change at {calendar.changes[-1][0].isoformat()} is planned already; take a later instant"
        return Refused(Code.TIME_OUT_OF_RANGE, detail, "effective_from")
    before = calendar.changes[-1][1] if calendar.changes else calendar.first
    change = effective_from, command.rule
    books.config = replace(books.config, calendar=Calendar(calendar.first, (*calendar.changes, change)))
    books.forget_windows()
    books.writes.calendar_changes.append(change)
    after = {**rule_state(command.rule), "effective_from": effective_from.isoformat()}
    entry = books.audit(command, "calendar.set", "calendar", rule_state(before), after)
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
    return Changed(entry)
