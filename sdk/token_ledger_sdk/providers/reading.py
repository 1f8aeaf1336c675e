"""What a response says about its call: the usage, and what else decides about its price."""

from __future__ import annotations

from dataclasses import dataclass

from .usage import Usage

STANDARD = "standard"
_LONGEST_ID = 200
_TIERS = {
    "flex": "flex",
    "on_demand_flex": "flex",
    "priority": "priority",
    "on_demand_priority": "priority",
    "batch": "batch",
    "fast": "fast",
}
"""What providers call the tiers that have rates of their own. All else, such as `default`, `auto` and `on_demand`, is
the standard tier."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a provider's response says about one call.

    `model` is the model that answered, as the provider names it. `service_tier` is standard, flex, priority, batch or
    fast. `provider_format` names the format in which it was said. `others` are other models that the provider called
    within this call and charges besides; their tokens are not in `usage`.
    """

    usage: Usage
    model: str | None = None
    service_tier: str = STANDARD
    response_id: str | None = None
    provider_format: str = "usage"
    others: tuple[Reading, ...] = ()


def tier_named(*names: object) -> str:
    """Return the service tier that the first known name stands for; the standard tier without one."""
    for name in names:
        name = getattr(name, "value", name)
        if isinstance(name, str) and name.lower() in _TIERS:
            return _TIERS[name.lower()]
    return STANDARD


def valid_id(identifier: object) -> str | None:
    """Return a provider's id of a response, by which a call that is reported twice is recognized.

    None unless it is 1 to 200 printable characters: the service would refuse the whole settle for any other id, and
    the usage matters more.
    """
    if isinstance(identifier, str) and 0 < len(identifier) <= _LONGEST_ID and identifier.isprintable():
        return identifier
    return None
