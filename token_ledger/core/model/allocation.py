"""Owns the split of a run's tokens over agent types: by weight, with minimums, to the exact total."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What one agent type gets: a weight above zero, and the fewest tokens it can work with."""

    agent_type: str
    weight: int
    minimum_tokens: int = 0


class InfeasibleAllocation(ValueError):
    """The minimums do not fit into the total."""


def allocate(total_tokens: int, shares: Sequence[Share]) -> dict[str, int]:
    """Split `total_tokens` by weight, give each at least its minimum, and sum to the total exactly.

    Shares whose proportional part lies below their minimum get the minimum; the others split what is left, until
    none is below. Left-over tokens go to the largest remainders (Hamilton's method), earlier shares first.
    Raises InfeasibleAllocation when the minimums exceed the total, ValueError on an empty or repeated share.
    """
    names = [share.agent_type for share in shares]
    if not shares or len(set(names)) != len(names):
        raise ValueError("an allocation names each agent type once and at least one")
    if any(share.weight <= 0 or share.minimum_tokens < 0 for share in shares):
        raise ValueError("weights are above zero and minimums are not negative")
    needed = sum(share.minimum_tokens for share in shares)
    if needed > total_tokens:
        raise InfeasibleAllocation(f"the minimums need {needed} tokens, and the run has {total_tokens}")
    free, left = list(shares), total_tokens
    parts: dict[str, int] = {}
    while short := _below_minimum(free, left):
        for share in short:
            parts[share.agent_type] = share.minimum_tokens
            left -= share.minimum_tokens
        free = [share for share in free if share not in short]
    # `free` is never empty: if every share were below its minimum, the minimums would exceed the total.
    parts.update(_largest_remainder(free, left))
    return {name: parts[name] for name in names}


def _below_minimum(shares: list[Share], total: int) -> list[Share]:
    weights = sum(share.weight for share in shares)
    return [share for share in shares if total * share.weight < share.minimum_tokens * weights]


def _largest_remainder(shares: list[Share], total: int) -> dict[str, int]:
    weights = sum(share.weight for share in shares)
    parts = {share.agent_type: total * share.weight // weights for share in shares}
    by_remainder = sorted(shares, key=lambda share: -(total * share.weight % weights))
    for share in by_remainder[: total - sum(parts.values())]:
        parts[share.agent_type] += 1
    return parts
