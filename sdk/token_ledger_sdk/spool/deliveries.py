"""What becomes of a record once the service has answered. Pure: it decides, `loads` and the outbox act.

A record is done only after it was booked, was found booked already, or is kept in the service's quarantine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from ..errors import ApiError, InvalidRequest, NotFound, ReservationNotOpen, Unavailable
from ..wire.calls import DEFAULT_TTL_SECONDS, Use, settle_body
from ..wire.fields import Fields
from ..wire.requests import ApiRequest, json_text, operation_of, time_text
from ..wire.reservations import release_request
from .lines import Record

SOURCE = "token-ledger-sdk"
"""The source of events that are sent in place of settles."""
SPOOLED_EVENT = {"op": "event", "spooled": True}
"""What every event of a spool says: so the service books it at any age."""
_NEEDED = ("op", "reservation_id", "idempotency_key", "part", "usage", "occurred_at", "estimated", "outcome")
_A_RESERVE = '{"op": "reserve"'
_A_RELEASE = '{"op": "release"'
_A_PART = '"part": true'
_OF_A_HOLD = re.compile(r'\{"op": "(?:settle|release)", "reservation_id": "(?P<hold>[^"]*)"')
_SETTLES_ONLY = ("op", "reservation_id", "part", "original_input_tokens", "other_models")


class Owner(Protocol):
    """Whoever waits for what becomes of a record, in this process."""

    @property
    def reservation_id(self) -> str:
        """The hold or the lease that the record is about."""

    def booked(self, answer: Fields) -> None:
        """Take the answer."""

    def refused(self, error: ApiError) -> bool:
        """Take the refusal, which is final; returns whether somebody is told of it otherwise than at the close."""


class Fate(Enum):
    """What to do with a record after an answer."""

    DONE = "the service has it, in the books or in quarantine"
    MOOT = "what was to be released has ended meanwhile, as by its expiry, or was never granted"
    GIVE_BACK = "a reserve whose caller had gone was granted: release the hold"
    WAIT = "it could not be served: send it again"
    DESCRIBE_LESS = "a description of the call was refused: send what is needed to book it"
    REPORT = "the service does not know the hold: report the call as an event"
    SET_ASIDE = "the service has kept nothing: people have to look at it"


def fate_of(result: Fields | ApiError, operation: str) -> Fate:
    """Decide what becomes of a record that was sent as this operation (JSON text)."""
    if isinstance(result, Fields):
        return Fate.GIVE_BACK if operation.startswith(_A_RESERVE) and _is_granted(result) else Fate.DONE
    if isinstance(result, Unavailable):
        return Fate.WAIT
    if operation.startswith(_A_RESERVE):
        return Fate.MOOT
    if "quarantine_id" in result.problem.extra:
        return Fate.DONE
    sent = json.loads(operation)
    if sent["op"] == "release" and isinstance(result, ReservationNotOpen | NotFound):
        return Fate.MOOT
    if isinstance(result, InvalidRequest) and sent["op"] != "event" and sent.keys() - set(_NEEDED):
        return Fate.DESCRIBE_LESS
    if isinstance(result, NotFound) and sent["op"] == "settle":
        return Fate.REPORT
    return Fate.SET_ASIDE


def asked_again(request: ApiRequest, now: datetime) -> Record | None:
    """Return what learns of the hold of a reserve without an answer whose caller has gone: the same, with its key.

    It is of use until the hold would have expired. Other requests need nothing.
    """
    if not _is_reserve(request):
        return None
    lasts = json.loads(request.content or b"{}").get("ttl_seconds", DEFAULT_TTL_SECONDS)
    return Record(operation_of(request), json.dumps({"until": time_text(now + timedelta(seconds=lasts))}))


def given_back(request: ApiRequest, answer: Fields) -> Record | None:
    """Return what releases the hold that a reserve was granted whose caller has gone. Other requests need nothing."""
    return Record(given_up_operation(answer)) if _is_reserve(request) and _is_granted(answer) else None


def given_up_operation(granted: Fields) -> str:
    """Return the operation that releases a hold which nobody uses."""
    return operation_of(release_request(granted.text("reservation_id"), "its caller had gone"))


def _is_granted(answer: Fields) -> bool:
    return answer.raw.get("state") == "held" and isinstance(answer.raw.get("reservation_id"), str)


def _is_reserve(request: ApiRequest) -> bool:
    return request.operation is not None and request.operation.op == "reserve"


def held_by(operation: str) -> str | None:
    """Return the hold that a settle or a release is about, None for any other operation (JSON text)."""
    found = _OF_A_HOLD.match(operation)
    return None if found is None else found["hold"]


def ends_hold(operation: str) -> bool:
    """Whether an operation that is about a hold ends it, so that it must come after all others about that."""
    return _A_PART not in operation


def is_over(record: Record, now: datetime) -> bool:
    """Whether a reserve need not be sent again, because a hold that it was granted has expired."""
    if not record.operation.startswith(_A_RESERVE):
        return False
    return now > datetime.fromisoformat(json.loads(record.call)["until"])


class Outcome(Enum):
    """What became of a record that need not be sent any more, in words for people."""

    BOOKED = "booked"
    DUPLICATE = "booked before"
    QUARANTINED = "kept in quarantine"
    RELEASED = "released, or ended meanwhile"
    REFUSED = "refused"


def outcome_of(result: Fields | ApiError, fate: Fate) -> Outcome:
    """Say what became of a record that was answered with this, and is done, moot or set aside."""
    if fate is Fate.SET_ASIDE:
        return Outcome.REFUSED
    if fate is Fate.MOOT:
        return Outcome.RELEASED
    if isinstance(result, ApiError) or result.has("quarantine_id"):
        return Outcome.QUARANTINED
    if result.raw.get("state") in ("released", "expired"):
        return Outcome.RELEASED
    return Outcome.DUPLICATE if result.flag("replayed") or result.raw.get("status") == "duplicate" else Outcome.BOOKED


def bare_operation(operation: str) -> str:
    """Return a settle or release without what only describes it, so that no description keeps it from being done."""
    sent = json.loads(operation)
    return json.dumps({name: sent[name] for name in _NEEDED if name in sent})


def event_operation(key: str, told: Mapping[str, object], use: Use) -> str:
    """Write a call that had no hold as an event: what is told of the call, and what it used (JSON text)."""
    said = {name: value for name, value in settle_body(use).items() if name not in _SETTLES_ONLY}
    return json_text({**SPOOLED_EVENT, "type": "llm_call", "source": SOURCE, "idempotency_key": key, **told, **said})


def report_operation(operation: str, call: str) -> str:
    """Return the event to send in place of a settle whose hold the service does not know.

    That is so after the database was restored from an earlier copy, and then it is booked. If retention has given up
    the hold, the service keeps the event in quarantine: it may be booked already.
    """
    sent = json.loads(operation)
    said = {name: value for name, value in sent.items() if name not in _SETTLES_ONLY}
    return json.dumps({**SPOOLED_EVENT, "type": "llm_call", "source": SOURCE, **json.loads(call), **said})
