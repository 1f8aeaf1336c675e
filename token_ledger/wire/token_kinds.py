"""Owns what kinds of tokens look like on the wire: the usage of a call, the rates of a price, the sums of a report.

A new kind begins in `core.model.usage`, one that few calls have in `core.model.other_kinds`; its fields here are
written out, each with a description.
"""

from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Literal, NotRequired, cast

from typing_extensions import TypedDict

from token_ledger.core.model.charge import OtherUse
from token_ledger.core.model.money import ATTOS_PER_DOLLAR, format_money
from token_ledger.core.model.other_kinds import OTHER_KINDS, PER_MILLION
from token_ledger.core.model.price import Rates
from token_ledger.core.model.usage import KINDS, Figures, Usage, usage_from
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
    audio_input_tokens: Annotated[UsedTokens, doc("Input tokens that are audio, cached ones included.", 0)] = 0
    image_input_tokens: Annotated[UsedTokens, doc("Input tokens that are images, cached ones included.", 0)] = 0
    video_input_tokens: Annotated[UsedTokens, doc("Input tokens that are video and were not read from a cache.", 0)] = 0
    audio_cache_read_tokens: Annotated[UsedTokens, doc("Audio tokens that were read from the provider's cache.", 0)] = 0
    image_cache_read_tokens: Annotated[UsedTokens, doc("Image tokens that were read from the provider's cache.", 0)] = 0
    audio_output_tokens: Annotated[UsedTokens, doc("Output tokens that are audio.", 0)] = 0
    image_output_tokens: Annotated[UsedTokens, doc("Output tokens that are images.", 0)] = 0
    video_output_tokens: Annotated[UsedTokens, doc("Output tokens that are video.", 0)] = 0
    citation_tokens: Annotated[
        UsedTokens, doc("Output tokens that are citations, where the provider prices them by themselves.", 0)
    ] = 0
    web_searches: Annotated[UsedTokens, doc("Searches of the web that the provider made for the call.", 2)] = 0
    file_searches: Annotated[UsedTokens, doc("Searches of stored files that the provider made for the call.", 0)] = 0
    images: Annotated[UsedTokens, doc("Images that were made, where they are priced by the piece.", 0)] = 0
    pages: Annotated[UsedTokens, doc("Pages of documents that were read, where they are priced by the page.", 0)] = 0
    annotated_pages: Annotated[
        UsedTokens, doc("Pages that were read with annotations, where these have a price of their own.", 0)
    ] = 0
    characters: Annotated[UsedTokens, doc("Characters, where they are priced instead of tokens.", 0)] = 0
    messages: Annotated[UsedTokens, doc("Messages, where they are priced by the message.", 0)] = 0
    audio_seconds: Annotated[
        UsedTokens, doc("Seconds of audio, rounded up, where audio is priced by its length.", 0)
    ] = 0
    requests: Annotated[UsedTokens, doc("Requests with a fee, besides the call itself, which counts as one.", 0)] = 0


OtherKindName = Literal[
    "audio_cache_read_tokens", "image_cache_read_tokens", "audio_input_tokens", "image_input_tokens",
    "video_input_tokens", "audio_output_tokens", "image_output_tokens", "video_output_tokens", "citation_tokens",
    "web_searches", "file_searches", "images", "pages", "annotated_pages", "characters", "messages", "audio_seconds",
    "requests",
]  # fmt: skip
"""The names of the kinds that few calls have."""

_OTHERS = frozenset(OTHER_KINDS)
_counts = attrgetter(*KINDS)
AN_USAGE = {"input_tokens": 1_180, "output_tokens": 260, "cache_read_tokens": 1_024}


def usage_of(body: UsageBody) -> Usage:
    """Return usage as the core counts it: the fields of both are the kinds of tokens, and other kinds."""
    if _OTHERS.isdisjoint(body.model_fields_set):  # nearly always
        return Usage(*_counts(body))
    return usage_from(dict(body))


@answer
class OtherUseAnswer(TypedDict):
    """What a call used of a kind that few calls have."""

    kind: Annotated[str, doc("The kind, by its name in `usage`.", "web_searches")]
    count: Annotated[int, doc("How many, as it was booked.", 2)]
    cost: Annotated[str | None, doc("Cost in dollars; null if no rate is known for this kind.", "0.020000000")]
    assumed_price_id: NotRequired[
        Annotated[
            str,
            doc(
                "The price entry whose rate was assumed, because the model has no price for this kind: that of the "
                "hold, or the tenant's stand-in. The call is `unpriced` then, and can be re-costed once the model has "
                "a price. Left out where nothing was assumed.",
                "-73138176",
            ),
        ]
    ]


def other_answer(use: OtherUse) -> OtherUseAnswer:
    """Return a line of another kind."""
    cost = None if use.nanos is None else format_money(use.nanos)
    line: OtherUseAnswer = {"kind": use.kind, "count": use.count, "cost": cost}
    if use.assumed_by and use.unpriced:
        line["assumed_price_id"] = str(use.assumed_by)
    return line


@answer
class TierAnswer(TypedDict):
    """Rates in dollars per million tokens, as decimal strings, for calls with so much input, or for such input."""

    above_input_tokens: Annotated[int, doc("The tier applies to calls with more input tokens than this.", 0)]
    input: Annotated[str, doc("Input that is not read from a cache.", "2.5")]
    output: Annotated[str, doc("Output.", "15")]
    cache_read: Annotated[str, doc("Input that is read from the cache.", "0.25")]
    cache_write_5m: Annotated[str, doc("Input that is written to the cache for 5 minutes.", "2.5")]
    cache_write_1h: Annotated[str, doc("Input that is written to the cache for 1 hour.", "2.5")]
    reasoning: Annotated[str, doc("Reasoning.", "15")]
    request: Annotated[
        str, doc("The fee of a call, in dollars, with the most of `max_usage`; 0 where there is none.", "0")
    ]


def tier_answer(above: int, rates: Rates, per_million_calls: int) -> TierAnswer:
    """Return the rates of a tier, and what its calls cost beside their tokens."""
    dollars = {kind: _dollars(rate) for kind, rate in rates._asdict().items()}
    return cast(
        TierAnswer,
        {"above_input_tokens": above, **dollars, "request": _dollars(Decimal(per_million_calls) / PER_MILLION)},
    )


def _dollars(attos: int | Decimal) -> str:
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
