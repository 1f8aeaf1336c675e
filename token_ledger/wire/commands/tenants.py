"""Commands of the tenant itself: its calendar, its duplicates, its emergency stop."""

from zoneinfo import ZoneInfo

from token_ledger.core.batch.administration import SetCalendar, SetDuplicates, StopTenant
from token_ledger.core.model.window import CalendarRule
from token_ledger.storage.tenants import check_zone
from token_ledger.wire.bodies.tenants import CalendarBody, DuplicatesBody, KeyBody, StopBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import invalid_field


def set_calendar_command(body: CalendarBody, actor: str) -> SetCalendar:
    """Return the command that changes the calendar."""
    rule = CalendarRule(zone_of(body.time_zone), body.week_start, body.fiscal_month)
    return SetCalendar(body.idempotency_key, fingerprint_of(body), rule, actor, body.effective_from)


def set_duplicates_command(body: DuplicatesBody, actor: str) -> SetDuplicates:
    """Return the command that says whether duplicates are found."""
    return SetDuplicates(body.idempotency_key, fingerprint_of(body), body.found, actor)


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone that a body names."""
    try:
        return check_zone(name)
    except ValueError as error:
        raise invalid_field("time_zone", str(error)) from None


def stop_command(body: StopBody, actor: str) -> StopTenant:
    """Return the command that stops every call of a tenant."""
    return StopTenant(body.idempotency_key, fingerprint_of(body) + b"\0", body.reason, actor)


def resume_command(body: KeyBody, actor: str) -> StopTenant:
    """Return the command that ends a tenant's stop."""
    return StopTenant(body.idempotency_key, fingerprint_of(body) + b"\1", None, actor)
