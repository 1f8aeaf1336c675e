"""Says in words what entries of the price book, and changes of it, are."""

from collections.abc import Mapping
from typing import Any

from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.price import ModelName
from token_ledger.storage.reads.prices import OWN, StoredPrice

PER = "dollars per million tokens, per thousand of what is counted, per hour of audio"
"""What rates are for."""


def rates_words(entry: StoredPrice) -> str:
    """Return what an entry's model costs."""
    words = rates_text(entry.rates)
    if entry.daily_from is not None and entry.daily_until is not None:
        words += f", from {entry.daily_from:%H:%M} to {entry.daily_until:%H:%M} UTC"
    return words + ("  own" if entry.source == OWN else "")


def rates_text(rates: Mapping[str, Any] | None) -> str:
    """Return rates, as they are stored, in words."""
    if rates is None:
        return "withdrawn: the global price counts"
    parts = [_kinds(rates["base"])]
    parts += [f"above {tier['above']:,} input tokens {_kinds(tier['rates'])}" for tier in rates.get("tiers", ())]
    parts += [
        f"{name}{_since(each)} {_kinds(each['base'])}"
        for name, served in rates.get("service_tiers", {}).items()
        for each in served
    ]
    return "; ".join(parts)


def _since(served: Mapping[str, Any]) -> str:
    return f" from {served['valid_from'][:10]}" if "valid_from" in served else ""


def _kinds(rates: Mapping[str, str]) -> str:
    if rates and not any(float(rate) for rate in rates.values()):
        return "free"
    return ", ".join(f"{kind} {rate}" for kind, rate in rates.items())


def dated_words(entry: StoredPrice) -> str:
    """Return which entry it is, from when on it is valid, and where it is from."""
    since = "always" if entry.valid_from is None else f"from {entry.valid_from:%Y-%m-%d %H:%M} UTC"
    return f"{entry.price_id} for {entry.provider}/{entry.model}, {since}, set by {entry.source}"


def change_words(entry: AuditEntry) -> str:
    """Return what a change of a tenant's price did, as the audit log has it."""
    before, after = ({} if each is None else each for each in (entry.before, entry.after))
    if before.get("rates") == after.get("rates"):
        return f"{entry.target} has this price already; nothing changes"
    since = f" from {after['valid_from'][:16].replace('T', ' ')} UTC" if after else ""
    was = f" (it was {rates_text(before['rates'])})" if before else ""
    return f"{entry.target}{since}: {rates_text(after.get('rates'))}{was}"


def alias_words(name: ModelName, stands_for: ModelName | None) -> str:
    """Return what a name stands for."""
    shown = "/".join(name)
    return f"{shown} stands for nothing" if stands_for is None else f"{shown} stands for {'/'.join(stands_for)}"
