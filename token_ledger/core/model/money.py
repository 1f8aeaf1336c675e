"""Owns money: integers of nano-dollars, exact rates, and their decimal text.

No float ever stands for money. A rate is an integer of atto-dollars (1e-18 USD) per million tokens, fine enough
for every published price, so that a cost is one multiplication and one rounding.
"""

from decimal import Context, Decimal, InvalidOperation

NANOS_PER_DOLLAR = 1_000_000_000
ATTOS_PER_DOLLAR = 10**18
ATTOS_PER_NANO = 10**9
ATTO_TOKENS_PER_NANO = 10**15  # atto-dollars per million tokens -> nano-dollars per token
LARGEST_AMOUNT = 2**63 - 1
"""The largest amount, of money or anything else, that a column of the database holds."""
_EXACT = Context(prec=100)


def cost_nanos(tokens: int, rate_attos: int) -> int:
    """Return the cost in nano-dollars of `tokens` at a rate in atto-dollars per million tokens, half to even."""
    whole, rest = divmod(tokens * rate_attos, ATTO_TOKENS_PER_NANO)
    twice = 2 * rest
    if twice > ATTO_TOKENS_PER_NANO or (twice == ATTO_TOKENS_PER_NANO and whole & 1):
        return whole + 1
    return whole


def unit_cost_nanos(count: int, rate_attos: int, per: int) -> int:
    """Return the cost in nano-dollars of a count at a rate in atto-dollars for so many, half to even."""
    return divided(count * rate_attos, per * ATTOS_PER_NANO)


def divided(amount: int, divisor: int) -> int:
    """Return an amount divided by a number above zero, half to even."""
    whole, rest = divmod(amount, divisor)
    return whole + (2 * rest > divisor or (2 * rest == divisor and whole & 1))


def affordable_tokens(nanos: int, rate_attos: int) -> int:
    """Return the most tokens whose cost at a rate above zero, rounded as `cost_nanos` rounds, is at most `nanos`."""
    # Half a nano-dollar above an even amount is rounded down to it, above an odd one up to the next.
    return ((2 * nanos + 1) * ATTO_TOKENS_PER_NANO - (nanos & 1)) // (2 * rate_attos)


def rate_attos(dollars_per_million: Decimal) -> int:
    """Return a rate in atto-dollars per million tokens; ValueError if it is negative or finer than that."""
    scaled = dollars_per_million * ATTOS_PER_DOLLAR
    if scaled < 0 or scaled != scaled.to_integral_value():
        raise ValueError(f"rate {dollars_per_million} is negative or has more than 18 decimal places")
    return int(scaled)


def parse_money(text: str) -> int:
    """Return nano-dollars for a decimal string such as "12.50"; ValueError says what would be right."""
    try:
        nanos = _EXACT.multiply(Decimal(text), NANOS_PER_DOLLAR)
    except InvalidOperation:
        raise ValueError(f'{text!r} is not an amount of money; write dollars such as "12.50"') from None
    if not nanos.is_finite() or nanos != nanos.to_integral_value():
        raise ValueError(f"{text!r} is finer than a nano-dollar; write at most nine decimal places")
    if abs(nanos) > LARGEST_AMOUNT:
        raise ValueError(f"{text!r} is too large; the largest amount is {format_money(LARGEST_AMOUNT)}")
    return int(nanos)


def format_money(nanos: int) -> str:
    """Return nano-dollars as dollars with all nine decimal places, such as "0.001250000"."""
    sign = "-" if nanos < 0 else ""
    dollars, rest = divmod(abs(nanos), NANOS_PER_DOLLAR)
    return f"{sign}{dollars}.{rest:09d}"
