"""Owns what kinds of tokens look like on the wire: the usage of a call, the rates of a price, the sums of a report.

A new kind begins in `core.model.usage`; its fields here are written out, each with a description.
"""

from decimal import Decimal
from typing import Annotated, Any, cast

from typing_extensions import TypedDict

from token_ledger.core.model.money import ATTOS_PER_DOLLAR, format_money
from token_ledger.core.model.price import Rates
from token_ledger.core.model.usage import Figures, Usage
from token_ledger.wire.fields import Body, Tokens, UsedTokens, answer, doc

InputTokens = Annotated[Tokens, doc("Tokens of the whole prompt, cached tokens included.", 1_200)]


class UsageBody(Body):
    """What a call used."""

    input_tokens: Annotated[UsedTokens, doc("Tokens of the whole prompt, cached tokens included.", 1_200)]
    output_tokens: Annotated[UsedTokens, doc("Tokens of the answer, reasoning tokens included.", 260)]
    cache_read_tokens: Annotated[UsedTokens, doc("Input tokens that were read from the provider's cache.", 1_024)] = 0
    cache_write_5m_tokens: Annotated[
        UsedTokens, doc("Input tokens that were written to the provider's cache for 5 minutes.", 0)
    ] = 0
    cache_write_1h_tokens: Annotated[
        UsedTokens, doc("Input tokens that were written to the provider's cache for 1 hour.", 0)
    ] = 0
    reasoning_tokens: Annotated[UsedTokens, doc("Output tokens that were spent on reasoning.", 64)] = 0


AN_USAGE = {"input_tokens": 1_180, "output_tokens": 260, "cache_read_tokens": 1_024}


def usage_of(body: UsageBody) -> Usage:
    """Return usage as the core counts it: the fields of both are the kinds of tokens."""
    return Usage(**dict(body))


@answer
class TierAnswer(TypedDict):
    """Rates in dollars per million tokens, as decimal strings, for calls with so much input."""

    above_input_tokens: Annotated[int, doc("The tier applies to calls with more input tokens than this.", 0)]
    input: Annotated[str, doc("Input that is not read from a cache.", "2.5")]
    output: Annotated[str, doc("Output.", "15")]
    cache_read: Annotated[str, doc("Input that is read from the cache.", "0.25")]
    cache_write_5m: Annotated[str, doc("Input that is written to the cache for 5 minutes.", "2.5")]
    cache_write_1h: Annotated[str, doc("Input that is written to the cache for 1 hour.", "2.5")]
    reasoning: Annotated[str, doc("Reasoning.", "15")]


def tier_answer(above: int, rates: Rates) -> TierAnswer:
    """Return the rates of a tier."""
    dollars = {kind: _dollars(rate) for kind, rate in rates._asdict().items()}
    return cast(TierAnswer, {"above_input_tokens": above, **dollars})


def _dollars(attos: int) -> str:
    return format((Decimal(attos) / ATTOS_PER_DOLLAR).normalize(), "f")


@answer
class SumsAnswer(TypedDict):
    """Calls, tokens by kind, and cost."""

    calls: Annotated[int, doc("Calls.", 1_200)]
    input_tokens: Annotated[int, doc("Input tokens, cached ones included.", 1_416_000)]
    output_tokens: Annotated[int, doc("Output tokens, reasoning included.", 312_000)]
    cache_read_tokens: Annotated[int, doc("Input tokens that were read from a cache.", 1_228_800)]
    cache_write_tokens: Annotated[int, doc("Input tokens that were written to a cache.", 0)]
    reasoning_tokens: Annotated[int, doc("Output tokens that were spent on reasoning.", 76_800)]
    cost: Annotated[str, doc("Cost in dollars, to the nano-dollar.", "8.280000000")]


def sums_answer(sums: Figures) -> SumsAnswer:
    """Return the sums of calls."""
    value: dict[str, Any] = sums._asdict()
    value["cost"] = format_money(value.pop("cost_nanos"))
    return cast(SumsAnswer, value)
