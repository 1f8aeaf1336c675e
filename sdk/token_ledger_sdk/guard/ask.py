"""What an adapter knows of a call before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ..calibration import learned
from ..providers import Usage
from ..text_tokens import is_exact
from ..wire.calls import Call
from .context import CallContext

TOOLS = "tools"
STRUCTURED_OUTPUT = "structured_output"
VISION = "vision"
AUDIO = "audio"
LONG_CONTEXT = "long_context"
"""The words that `requires` uses; a model that stands in must have all of them among its capabilities."""

LONG_CONTEXT_TOKENS = 128_000
"""From how many tokens on, of input and of the caller's own output limit, a call requires LONG_CONTEXT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call of a provider, as its request describes it.

    `output_limit` is what the caller allows for each of `choices` answers, None without a limit; `least_output` is the
    smallest limit that the provider's API takes. An embedding `has_output` not. `requires` are words of this module.
    `takes_limit` and `takes_model` say whether a limit of ours, and a stand-in, can be put into the request;
    `is_text` whether the answer is text, so that what came of it can be counted, and `output_kind` which of the other
    kinds of tokens all of it may be; `charged` is what the call costs by
    its request alone, whose answer does not say it.
    `cache_write` for how long the input may be written to the provider's cache, which costs more. Of the input,
    `known_tokens` were charged before; the rest, where it `is_counted` by an adapter, may have been multiplied by a
    `correction`.
    """

    provider: str
    model: str
    input_tokens: int
    output_limit: int | None = None
    choices: int = 1
    least_output: int = 1
    has_output: bool = True
    takes_limit: bool = True
    takes_model: bool = True
    requires: tuple[str, ...] = ()
    request_type: str | None = None
    service_tier: str | None = None
    cache_write: Literal["5m", "1h"] | None = None
    max_usage: Mapping[str, int] = field(default_factory=dict)
    tool: str | None = None
    known_tokens: int = 0
    is_counted: bool = True
    is_text: bool = True
    output_kind: str | None = None
    charged: Usage | None = None
    correction: float = 1.0

    def call(self, context: CallContext, *, max_output_tokens: int) -> Call:
        """Return what a reserve says of this call, with so much output in all."""
        call: Call = {
            "agent_type": context.required_agent_type(),
            "provider": self.provider,
            "model": self.model,
            "input_tokens": self.input_tokens,
            "max_output_tokens": max_output_tokens,
        }
        if self.all_required:
            call["requires"] = self.all_required
        if context.request_type or self.request_type:
            call["request_type"] = context.request_type or self.request_type or ""
        if context.tags:
            call["tags"] = context.tags
        if context.apply and self.takes_model:
            call["apply"] = context.apply
        if self.service_tier is not None:
            call["service_tier"] = self.service_tier
        if self.cache_write is not None:
            call["cache_write"] = self.cache_write
        most = {**self.max_usage, **({} if self.output_kind is None else {self.output_kind: max_output_tokens})}
        if most:
            call["max_usage"] = most
        if self.tool is not None:
            call["tool"] = self.tool
        return call

    def corrected(self) -> Ask:
        """Return this ask with its count, if it is a guess, corrected by what the model was charged before."""
        if not self.is_counted or is_exact(self.model):
            return self
        ratio = learned.ratio(self.model)
        counted = round((self.input_tokens - self.known_tokens) * ratio)
        return replace(self, input_tokens=counted + self.known_tokens, correction=ratio)

    def learn(self, served: str, charged: int) -> None:
        """Note what the input was charged as; what other kinds add to it, or another model, tells nothing."""
        if self.is_counted and served == self.model and not self.max_usage and not is_exact(self.model):
            counted = round((self.input_tokens - self.known_tokens) / self.correction)
            learned.learn(self.model, counted=counted, charged=charged - self.known_tokens)

    @property
    def all_required(self) -> tuple[str, ...]:
        """What a stand-in must be able to do; a limit that is only the model's says nothing of the length."""
        is_long = self.input_tokens + (self.output_limit or 0) > LONG_CONTEXT_TOKENS
        return (*self.requires, LONG_CONTEXT) if is_long else self.requires
