"""The best estimate of what a call used whose provider did not say it, and the name of the rule that made it."""

from __future__ import annotations

from dataclasses import dataclass

from ..providers import Usage
from ..text_tokens import count_or_estimate
from .attempts import Received

OUTPUT_LIMIT = "input counted, output limit"
"""Nothing came, so that nothing less than the limit is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated usage, and the rule by which it was made."""

    usage: Usage
    rule: str


def estimate_lost(asked: Usage) -> Estimate:
    """Estimate an attempt without any answer: all that was held for it."""
    return Estimate(asked, OUTPUT_LIMIT)


def estimate_received(asked: Usage, received: Received, model: str) -> Estimate:
    """Estimate a call whose answer has begun: what the stream told, and the text that came, counted.

    Not more output than `asked` allows, unless the stream told of more.
    """
    told = received.told
    counted, way = count_or_estimate(received.text, model)
    output = min(counted, asked.output_tokens) if asked.output_tokens else counted
    if told is None:
        # Other kinds, such as searches, may have been used before the answer began.
        held = {kind: count for kind, count in asked.to_json().items() if kind not in ("input_tokens", "output_tokens")}
        return Estimate(Usage(asked.input_tokens, output, **held), f"input counted, output from text ({way})")
    if told.output_tokens >= output:
        return Estimate(told, "figures of the stream so far")
    more = Usage(0, output - told.output_tokens)
    return Estimate(told + more, f"input told by the stream, output from text ({way})")
