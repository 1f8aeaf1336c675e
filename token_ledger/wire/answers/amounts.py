"""Amounts and balances in answers."""

from typing import Annotated, cast

from typing_extensions import TypedDict

from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Limits, Unit
from token_ledger.core.model.money import format_money
from token_ledger.core.model.plain_data import amounts_data
from token_ledger.wire.fields import answer, doc, example_of


@answer
class Amounts(TypedDict):
    """Tokens, money and calls."""

    tokens: Annotated[int | None, doc("Tokens; null where there is no limit.", 50_000)]
    cost: Annotated[str | None, doc("Dollars, as a decimal string; null where there is no limit.", "12.500000000")]
    calls: Annotated[int | None, doc("Calls; null where there is no limit.", 200)]


def amounts(tokens: int | None, nanos: int | None, calls: int | None) -> Amounts:
    """Return amounts, money from nano-dollars."""
    return cast(Amounts, amounts_data(tokens, nanos, calls))


def limits_answer(limits: Limits) -> Amounts:
    """Return limits."""
    return amounts(*limits.amounts)


def amount_in(unit: Unit, figure: int) -> int | str:
    """Return one figure: a decimal string for money, a number for tokens and calls."""
    return format_money(figure) if unit is Unit.COST else figure


HELD = {"tokens": 1_700, "cost": "0.010500000", "calls": 1}
_USED = {"tokens": 1_440, "cost": "0.006900000", "calls": 1}
_LEFT = {"tokens": 46_860, "cost": "12.482600000", "calls": 198}


@answer
class Balance(TypedDict):
    """What an account may settle and hold, what it did, and what is left."""

    limit: Annotated[Amounts, doc("The limit, with everything granted, increased or rolled over.", example_of(Amounts))]
    settled: Annotated[Amounts, doc("Sum of what settled calls used.", _USED)]
    held: Annotated[Amounts, doc("Sum of what open holds may still use.", HELD)]
    available: Annotated[Amounts, doc("limit - settled - held; below 0 after an overrun.", _LEFT)]


def balance_answer(account: Account) -> Balance:
    """Return the balance of an account."""
    a = account
    return {
        "limit": amounts(a.limit_tokens, a.limit_nanos, a.limit_calls),
        "settled": amounts(a.settled_tokens, a.settled_nanos, a.settled_calls),
        "held": amounts(a.held_tokens, a.held_nanos, a.held_calls),
        "available": amounts(
            _left(a.limit_tokens, a.settled_tokens, a.held_tokens),
            _left(a.limit_nanos, a.settled_nanos, a.held_nanos),
            _left(a.limit_calls, a.settled_calls, a.held_calls),
        ),
    }


def _left(limit: int | None, settled: int, held: int) -> int | None:
    return None if limit is None else limit - settled - held
