"""Owns discounts: what a tenant has negotiated off the prices of the global book, by provider, family or model.

A discount is for one model, for a pattern of names (`gpt-5*`, and `*` for all of a provider), or with the provider `*`
for all models. Of those in force at an instant the one with the most exact name counts, alone. Of one name it is the
one that began last, so that a discount for a month interrupts the one before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from token_ledger.core.model.frozen import value
from token_ledger.core.model.money import divided
from token_ledger.core.model.name_patterns import Names
from token_ledger.core.model.price import OtherRates, Price, Rates

WHOLE = 1_000_000_000
"""The factor of no discount: factors are in billionths."""

LARGEST = 10
"""The largest factor: a reseller may ask for more than is published, but hardly for ten times as much."""


@value
class Discount:
    """What is paid of published prices, in billionths, from an instant on and perhaps until another.

    Without a factor, the discounts of this name that began before are withdrawn.
    """

    discount_id: int
    provider: str
    model: str
    factor: int | None
    valid_from: datetime
    valid_until: datetime | None = None

    def is_in_force(self, at: datetime) -> bool:
        """Tell whether it is at an instant, as far as no other one is instead."""
        return self.factor is not None and self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


def read_factor(text: str) -> int:
    """Return a factor such as "0.85" in billionths; ValueError says what would be right."""
    factor = Decimal(text) * WHOLE
    if factor != factor.to_integral_value():
        raise ValueError(f"{text!r} is too fine; a factor has at most nine decimal places")
    if not 0 <= factor <= LARGEST * WHOLE:
        raise ValueError(f"{text!r} is no factor; write what is paid of the price, such as 0.85, and at most {LARGEST}")
    return int(factor)


def factor_text(factor: int) -> str:
    """Return a factor as a decimal, such as "0.85"."""
    return format((Decimal(factor) / WHOLE).normalize(), "f")


def dated(discounts: Iterable[Discount]) -> tuple[Discount, ...]:
    """Return the discounts of one name, given in the order in which they were decided: what began last goes first.

    Another one with the same beginning takes the place of the one before it.
    """
    newest = {each.valid_from: each for each in discounts}
    return tuple(newest[since] for since in sorted(newest, reverse=True))


def named(discounts: Iterable[Discount]) -> Names[tuple[Discount, ...]]:
    """Return discounts by the names that they are for, those of each as `dated` puts them in order."""
    by_name: dict[tuple[str, str], list[Discount]] = {}
    for each in discounts:
        by_name.setdefault((each.provider, each.model.casefold()), []).append(each)
    names: Names[tuple[Discount, ...]] = Names()
    for name, of_name in by_name.items():
        names.put(*name, dated(of_name))
    return names


def discount_at(names: Iterable[Sequence[Discount]], instant: datetime) -> Discount | None:
    """Return the discount in force at an instant, of those of several names, the most exact name first."""
    for of_name in names:
        for each in of_name:
            if each.is_in_force(instant):
                return each
            if each.factor is None and each.valid_from <= instant:
                break  # those that began before are withdrawn
    return None


def reduced(made: dict[tuple[int, int], Price], price: Price, discount: Discount) -> Price:
    """Return an entry less a discount, out of those that were made before if it is one of them."""
    ids = price.price_id, discount.discount_id
    found = made.get(ids)
    if found is None:
        found = made[ids] = discounted(price, discount)
    return found


def discounted(price: Price, discount: Discount) -> Price:
    """Return an entry of the global book with the factor of a discount in all its rates."""
    factor = WHOLE if discount.factor is None else discount.factor
    return replace(
        price,
        base=_rates(price.base, factor),
        tiers=tuple((above, _rates(rates, factor)) for above, rates in price.tiers),
        others=_other_rates(price.others, factor),
        other_tiers=tuple((above, _other_rates(rates, factor)) for above, rates in price.other_tiers),
        service_tiers={
            tier: tuple(discounted(served, discount) for served in entries)
            for tier, entries in price.service_tiers.items()
        },
        discount_id=discount.discount_id,
        listed=price,
    )


def _rates(rates: Rates, factor: int) -> Rates:
    return Rates(*(divided(rate * factor, WHOLE) for rate in rates))


def _other_rates(rates: OtherRates, factor: int) -> OtherRates:
    return {kind: divided(rate * factor, WHOLE) for kind, rate in rates.items()}
