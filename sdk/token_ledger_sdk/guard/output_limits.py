"""How much output a call may have: the caller's limit, else the lesser of the model's limit and what fits."""

from __future__ import annotations

from dataclasses import dataclass

from ..directives import Fits
from .ask import Ask
from .models import ModelFacts
from .published_limits import published_limit

UNKNOWN_LIMIT = 4_096
"""The limit of a call whose model has none that is known: every model takes it."""


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """The limit of each answer of a call: the caller's, or the model's if it `is_known`, or one of ours."""

    tokens: int
    is_callers: bool = False
    is_known: bool = True


def limit_of_model(ask: Ask, facts: ModelFacts) -> OutputLimit:
    """Return how much output the model of a call can give: what the service says, else what is published.

    Neither says how much of the context the input leaves.
    """
    known = facts.max_output_tokens or published_limit(ask.model)
    if known is None:
        return OutputLimit(UNKNOWN_LIMIT, is_known=False)
    room = known if facts.context_tokens is None else facts.context_tokens - ask.input_tokens
    # What is counted as too long may fit all the same: the provider decides.
    return OutputLimit(min(known, room) if room >= ask.least_output else known)


def fitting(ask: Ask, fits: Fits | None) -> int | None:
    """Return the output, in all, that a refused call may have instead; None if no answer of use fits."""
    if fits is None or fits.max_output_tokens is None or not ask.takes_limit:
        return None
    each = fits.max_output_tokens // ask.choices
    return each * ask.choices if each >= ask.least_output else None


def limit_on_wire(ask: Ask, limit: OutputLimit, held: int) -> int | None:
    """Return the limit to send for each answer, None to send what the caller sends.

    Less than the caller's limit may be held, if a directive says so, or less than the model's.
    """
    if not (ask.has_output and ask.takes_limit):
        return None
    each = held // ask.choices
    if each < limit.tokens:
        return max(each, ask.least_output)
    return None if limit.is_callers or limit.is_known else each
