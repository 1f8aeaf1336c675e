"""Owns what every reader of a bill yields: its lines, with exact amounts and how far these may be rounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Final

from token_ledger.core.model.money import LARGEST_AMOUNT, NANOS_PER_DOLLAR, format_money
from token_ledger.core.model.usage import Usage
from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.reconciliation.token_counts import NO_TOKENS

HALF_A_CENT: Final = NANOS_PER_DOLLAR // 200
CURRENCY: Final = "USD"
GLOBAL: Final = "global."
"""What the names of models begin with that AWS may serve anywhere, at prices of their own."""
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Amount:
    """Nano-dollars, and by how many at most the amount as it was written may differ from the exact one."""

    nanos: int
    bound_nanos: int


NO_AMOUNT: Final = Amount(0, 0)
"""That of a line that says tokens only."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill: an amount, tokens, or both, of a span within one day of UTC that begins at `begin`.

    Without a model, `item` names what is charged, such as web searches; without both, the bill does not say it. Of
    `usage` the input are all tokens of the prompt. A `service_tier` of None is one that the bill does not say.
    """

    place: Place
    begin: datetime
    provider: str
    model: str | None = None
    item: str | None = None
    project: str | None = None
    amount: Amount = NO_AMOUNT
    usage: Usage = NO_TOKENS
    service_tier: str | None = None


def read_amount(place: Place, value: object, currency: object = CURRENCY, *, per_dollar: int = 1) -> Amount:
    """Return the amount that a text or a number of a file says, in dollars or, with 100 `per_dollar`, in cents.

    An amount is written to some place and may have been rounded there, but by no more than half a cent: programs that
    write numbers leave zeros at their end out. Of numbers that were read as binary ones, the shortest text that stands
    for the same number is taken, which is the one that was written up to 17 digits. Raises UnreadableFile.
    """
    if str(currency).upper() != CURRENCY:
        raise UnreadableFile(place, f"the currency is {currency!r}: only bills in {CURRENCY} can be compared")
    try:
        written = Decimal(str(value).strip())
    except InvalidOperation:
        raise UnreadableFile(place, f"{value!r} is not an amount of money: export the file as it came") from None
    if isinstance(value, bool) or not written.is_finite():
        raise UnreadableFile(place, f"{value!r} is not an amount of money: export the file as it came")
    dollars = _EXACT.divide(written, Decimal(per_dollar))
    nanos = _EXACT.multiply(dollars, Decimal(NANOS_PER_DOLLAR)).to_integral_value(context=_EXACT)
    if abs(nanos) > LARGEST_AMOUNT:
        raise UnreadableFile(place, f"{value!r} is more than the largest amount, {format_money(LARGEST_AMOUNT)}")
    exponent = written.as_tuple().exponent
    assert isinstance(exponent, int)
    half_place = _EXACT.divide(Decimal(5).scaleb(max(-30, min(exponent, 3)) + 8), Decimal(per_dollar))
    return Amount(int(nanos), max(1, min(HALF_A_CENT, int(half_place))))


class Once:
    """Refuses results that stand in the files of a bill twice, as pages that were saved twice have them."""

    def __init__(self) -> None:
        self._seen: set[tuple[datetime, str]] = set()

    def check(self, place: Place, begin: datetime, result: Mapping[str, object]) -> None:
        """Note a result; raises UnreadableFile if it was noted before."""
        identity = (begin, repr(sorted(result.items())))
        if identity in self._seen:
            raise UnreadableFile(place, "the same result stands in the files twice: name every page once")
        self._seen.add(identity)


def check_day(place: Place, begin: datetime, end: datetime) -> None:
    """Raise UnreadableFile if a bucket is longer than a day: it can't be compared by day."""
    if end - begin > timedelta(days=1):
        raise UnreadableFile(place, "a bucket is longer than a day: export the bill by day (bucket_width=1d)")
