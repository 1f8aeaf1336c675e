"""Owns the JSON that columns hold: what a value is written as, and how it is read back. Money is in nano-dollars."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json

from token_ledger.core.model.budget import Enforcement, Limits, Overrides, Unit
from token_ledger.core.model.charge import OtherUse
from token_ledger.core.model.details import Details, details_data, details_from
from token_ledger.core.model.hold_cost import Announced
from token_ledger.core.model.other_kinds import OTHER_KINDS, others_of
from token_ledger.core.model.parts import DrawnUse
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.selector import Selector
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.trigger import Advice, Downgrade, Evidence, Technique, TriggerKind
from token_ledger.core.model.usage import usage_from


def parsed(column: Any) -> Any:
    """Return what a JSON column holds: asyncpg hands over text, SQLAlchemy what it has parsed already."""
    return json.loads(column) if isinstance(column, str) else column


def _text(value: Any) -> str:
    # This takes a quarter of the time of `json.dumps`, and most events have such a column.
    return to_json(value).decode()


def refusals_text(refusals: Sequence[Refusal]) -> str:
    """Return refusals as `denials.refusals` and `reservations.warnings` hold them."""
    return _text(
        [
            {
                "account_id": refusal.account_id,
                "budget": refusal.budget,
                "enforcement": refusal.enforcement,
                "subject": dict(refusal.subject.pairs),
                "unit": refusal.unit,
                "limit": refusal.limit,
                "settled": refusal.settled,
                "held": refusal.held,
                "available": refusal.available,
                "requested": refusal.requested,
                "window_start": refusal.window_start.isoformat(),
                "window_end": refusal.window_end.isoformat() if refusal.window_end else None,
                "calls": refusal.calls,
            }
            for refusal in refusals
        ]
    )


def refusals_from(column: Any) -> tuple[Refusal, ...]:
    """Read refusals back."""
    return tuple(
        Refusal(
            account_id=each["account_id"],
            budget=each["budget"],
            enforcement=Enforcement(each["enforcement"]),
            subject=Subject(each["subject"]),
            unit=Unit(each["unit"]),
            limit=each["limit"],
            settled=each["settled"],
            held=each["held"],
            requested=each["requested"],
            window_start=datetime.fromisoformat(each["window_start"]),
            window_end=datetime.fromisoformat(each["window_end"]) if each["window_end"] else None,
            calls=each.get("calls", 1),
        )
        for each in parsed(column)
    )


def advice_text(advice: Sequence[Advice]) -> str:
    """Return what a hold's caller was advised, as `reservations.advice` holds it."""
    return _text(
        [
            {
                "trigger": each.kind,
                "technique": each.technique,
                "applied": each.applied,
                "downgrade": None if each.downgrade is None else asdict(each.downgrade),
                "evidence": _evidence_value(each.evidence),
            }
            for each in advice
        ]
    )


def advice_from(column: Any) -> tuple[Advice, ...]:
    """Read back what a hold's caller was advised."""
    return tuple(
        Advice(
            kind=TriggerKind(each["trigger"]),
            technique=Technique(each["technique"]),
            applied=each["applied"],
            downgrade=None if each["downgrade"] is None else _downgrade_from(each["downgrade"]),
            evidence=_evidence_from(each["evidence"]),
        )
        for each in parsed(column)
    )


def evidence_text(evidence: Evidence) -> str:
    """Return why a trigger fired, as `trigger_firings.evidence` holds it."""
    return _text(_evidence_value(evidence))


def _evidence_value(evidence: Evidence) -> dict[str, Any]:
    return {
        "budget": evidence.budget,
        "subject": dict(evidence.subject.pairs),
        "unit": evidence.unit,
        "used": evidence.used,
        "limit": evidence.limit,
    }


def _evidence_from(value: Mapping[str, Any]) -> Evidence:
    return Evidence(value["budget"], Subject(value["subject"]), Unit(value["unit"]), value["used"], value["limit"])


def downgrades_text(downgrades: Iterable[Downgrade]) -> str:
    """Return a ladder of models, as `triggers.downgrades` holds it."""
    return _text([asdict(step) for step in downgrades])


def downgrades_from(column: Any) -> tuple[Downgrade, ...]:
    """Read a ladder of models back."""
    return tuple(_downgrade_from(step) for step in parsed(column))


def _downgrade_from(value: Mapping[str, Any]) -> Downgrade:
    return Downgrade(**{**value, "capabilities": tuple(value["capabilities"])})


def cost_centers_text(dated: Iterable[tuple[datetime | None, str]]) -> str:
    """Return dated cost centers, as `users.cost_centers` holds them."""
    return _text([{"from": since and since.isoformat(), "cost_center": name} for since, name in dated])


def cost_centers_from(column: Any) -> tuple[tuple[datetime | None, str], ...]:
    """Read a user's cost centers back."""
    return tuple(
        (datetime.fromisoformat(each["from"]) if each["from"] else None, each["cost_center"]) for each in parsed(column)
    )


def other_uses_text(uses: Iterable[OtherUse]) -> str:
    """Return the lines of other kinds, as `usage_events.others` holds them: count and cost in nano-dollars by kind.

    Behind these stand how many are priced, the entry whose rate is assumed, and its discount, as far as there are any.
    """
    return _text(_other_uses_value(uses))


UNPRICED_UNITS: Final = (
    "case when {0} ->> 1 is null or {0} ->> 3 is not null then ({0} ->> 0)::bigint else 0 end"
    " - coalesce(({0} ->> 2)::bigint, 0)"
)
"""How many units of such a line have no price, in SQL."""


def _other_uses_value(uses: Iterable[OtherUse]) -> dict[str, list[int | None]]:
    lines: dict[str, list[int | None]] = {}
    for use in uses:
        line = lines[use.kind] = [use.count, use.nanos, use.priced, use.assumed_by, use.discount_id]
        while len(line) > 2 and not line[-1]:
            line.pop()
    return lines


def other_uses_from(column: Any) -> tuple[OtherUse, ...]:
    """Read the lines of other kinds back, in the order of the kinds."""
    stored = parsed(column)
    return tuple(OtherUse(kind, *stored[kind]) for kind in OTHER_KINDS if kind in stored)


def drawn_use_text(drawn: Iterable[DrawnUse]) -> str:
    """Return what parts of a call have used, as `reservations.drawn_use` holds it: an object for each model."""
    return _text(
        [
            {
                "provider": use.provider,
                "model": use.model,
                "usage": use.usage.by_kind,
                "nanos": use.cost_nanos,
                "list_nanos": use.list_nanos,
                "others": _other_uses_value(use.others),
            }
            for use in drawn
        ]
    )


def drawn_use_from(column: Any) -> tuple[DrawnUse, ...]:
    """Read back what parts of a call have used."""
    return tuple(
        DrawnUse(
            each["provider"],
            each["model"],
            usage_from(each["usage"]),
            each["nanos"],
            each["list_nanos"],
            other_uses_from(each["others"]),
        )
        for each in parsed(column)
    )


def details_text(details: Details | None) -> str | None:
    """Return what was measured of a call, as `usage_events.details` holds it."""
    return None if details is None else _text(details_data(details))


def details_from_column(column: Any) -> Details | None:
    """Read back what was measured of a call."""
    return None if column is None else details_from(parsed(column))


def announced_text(announced: Announced) -> str:
    """Return what a call announced beside its tokens, as `reservations.announced` holds it."""
    stored = {**asdict(announced), "max_usage": dict(announced.max_usage)}
    if not announced.assumed_by:
        del stored["assumed_by"]
    return _text(stored)


def announced_from(column: Any) -> Announced:
    """Read back what a call announced."""
    stored = parsed(column)
    return Announced(
        others_of(stored["max_usage"]), stored["service_tier"], tuple(stored["without_price"]),
        stored.get("assumed_by", 0),
    )  # fmt: skip


def pairs_text(pairs: Iterable[tuple[str, str]]) -> str:
    """Return tags as a JSON object."""
    return _text(dict(pairs))


def pairs_from(column: Any) -> tuple[tuple[str, str], ...]:
    """Read tags back, sorted by name."""
    return tuple(sorted(parsed(column).items()))


def selector_text(selector: Selector) -> str:
    """Return a selector as `budgets.selector` holds it."""
    return _text(dict(selector))


def selector_from(column: Any) -> Selector:
    """Read a selector back, in the order of the dimensions; an erasure may have changed that of a list."""
    values = parsed(column).items()
    return tuple(sorted((name, tuple(sorted(each)) if isinstance(each, list) else each) for name, each in values))


def overrides_text(overrides: Overrides) -> str:
    """Return subjects and their limits, as `budgets.overrides` holds them."""
    return _text([{"subject": dict(subject.pairs), "limits": asdict(limits)} for subject, limits in overrides])


def overrides_from(column: Any) -> Overrides:
    """Read subjects and their limits back, sorted by subject."""
    found = [(Subject(each["subject"]), Limits(**each["limits"])) for each in parsed(column)]
    return tuple(sorted(found, key=lambda override: override[0].text))


def object_text(value: Any) -> str | None:
    """Return plain data as JSON, None for nothing: what the audit log shows, what quarantine keeps."""
    return None if value is None else _text(value)
