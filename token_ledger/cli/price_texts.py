"""Says in words what entries of the price book, and changes of it, are."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.discount import WHOLE, Discount, read_factor
from token_ledger.core.model.model_facts import ModelFacts, facts_from
from token_ledger.core.model.price import ModelName
from token_ledger.storage.prices import MARGINAL
from token_ledger.storage.reads.prices import OWN, StoredPrice

_PER = "dollars per million tokens, per thousand of what is counted, per hour of audio"


def cost_words(entry: StoredPrice) -> str:
    """Return what an entry's model costs, and for how many that is."""
    words = rates_words(entry)
    return words if rates_text(entry.rates) == _FREE else f"costs {words} ({_PER})"


_FREE = "free"


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
    parts += _tiers(rates)
    parts += [
        "; ".join((f"{name}{_since(each)} {_kinds(each['base'])}", *(f"{name} {tier}" for tier in _tiers(each))))
        for name, served in rates.get("service_tiers", {}).items()
        for each in served
    ]
    return "; ".join(parts)


def _tiers(schedule: Mapping[str, Any]) -> list[str]:
    begin = "input beyond {:,} tokens" if schedule.get("tier_mode") == MARGINAL else "above {:,} input tokens"
    return [f"{begin.format(tier['above'])} {_kinds(tier['rates'])}" for tier in schedule.get("tiers", ())]


def _since(served: Mapping[str, Any]) -> str:
    return f" from {served['valid_from'][:10]}" if "valid_from" in served else ""


def _kinds(rates: Mapping[str, str]) -> str:
    if rates and not any(float(rate) for rate in rates.values()):
        return _FREE
    return ", ".join(f"{kind} {rate}" for kind, rate in rates.items())


def dated_words(entry: StoredPrice) -> str:
    """Return which entry it is, from when on it is valid, and where it is from."""
    since = "always" if entry.valid_from is None else f"from {entry.valid_from:%Y-%m-%d %H:%M} UTC"
    return f"{entry.price_id} for {entry.provider}/{entry.model}, {since}, set by {entry.source}"


def change_words(entry: AuditEntry) -> str:
    """Return what a change of a tenant's price did, as the audit log has it."""
    before, after = ({} if each is None else each for each in (entry.before, entry.after))
    if before.get("rates") == after.get("rates"):
        if not after:
            return f"{entry.target} has no price of the tenant's own; nothing changes"
        return f"{entry.target} has this price already; nothing changes"
    since = f" from {after['valid_from'][:16].replace('T', ' ')} UTC" if after else ""
    was = f" (it was {rates_text(before['rates'])})" if before else ""
    return f"{entry.target}{since}: {rates_text(after.get('rates'))}{was}"


def discount_words(discount: Discount) -> str:
    """Return what a discount is, and when it is valid."""
    until = "" if discount.valid_until is None else f" until {discount.valid_until:%Y-%m-%d %H:%M}"
    name = f"{discount.provider}/{discount.model}"
    return f"{name}: {off_words(discount.factor)}, from {discount.valid_from:%Y-%m-%d %H:%M}{until} UTC"


def off_words(factor: int | None) -> str:
    """Return how many percent are off."""
    if factor is None:
        return "withdrawn: no discount of this name"
    percent = format((100 * (1 - Decimal(factor) / WHOLE)).normalize(), "f")
    return f"{percent.removeprefix('-')} % {'on top' if factor > WHOLE else 'off'}"


def discount_change_words(entry: AuditEntry) -> str:
    """Return what a change of a tenant's discount did, as the audit log has it."""
    if entry.before == entry.after:
        has = "no discount" if entry.after is None or entry.after["factor"] is None else "this discount already"
        return f"{entry.target} has {has}; nothing changes"
    after = entry.after or {"factor": None}
    was = f" (it was {off_words(read_factor(entry.before['factor']))})" if entry.before else ""
    since, until = (
        f" {word} {at[:16].replace('T', ' ')} UTC" if (at := after.get(f"valid_{word}")) else ""
        for word in ("from", "until")
    )
    factor = None if after["factor"] is None else read_factor(after["factor"])
    return f"{entry.target}{since}{until}: {off_words(factor)}{was}"


def alias_words(name: ModelName, stands_for: ModelName | None) -> str:
    """Return what a name stands for."""
    shown = "/".join(name)
    return f"{shown} stands for nothing" if stands_for is None else f"{shown} stands for {'/'.join(stands_for)}"


def facts_words(facts: ModelFacts | None) -> str:
    """Return what is known of a model beside its price."""
    if facts is None:
        return "what is published counts"
    parts = []
    if facts.context_tokens is not None:
        parts.append(f"{facts.context_tokens:,} tokens of context")
    if facts.max_output_tokens is not None:
        parts.append(f"at most {facts.max_output_tokens:,} tokens of output")
    if facts.capabilities is not None:
        parts.append(f"can {', '.join(facts.capabilities) or 'nothing'}")
    if facts.deprecated is not None:
        parts.append("deprecated" if facts.deprecated else "not deprecated")
    if facts.end_of_life is not None:
        parts.append(f"served until {facts.end_of_life}")
    return "; ".join(parts) or "nothing is known of its limits, what it can do, and its end"


def facts_change_words(entry: AuditEntry) -> str:
    """Return what was said of a model, as the audit log has it."""
    if entry.before == entry.after:
        return f"{entry.target}: this is said already; nothing changes"
    before, after = (facts_from(each) for each in (entry.before, entry.after))
    was = "" if before is None else f" (it was {facts_words(before)})"
    return f"{entry.target}: {facts_words(after)}{was}"
