"""What a guarded function says of its call: before it from its arguments, after it from what it returned or raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from ..errors import Denied
from ..failures import failure_of
from ..providers import Usage
from ..providers.bodies import member
from ..wire.calls import Measured, use_of
from ..wire.events import ToolCall
from .ask import Ask
from .attempts import reading_or_none
from .context import CallContext, ContextFields, context_of

Value = TypeVar("Value")


class FunctionFields(ContextFields, total=False):
    """What a guarded function calls, and whose its calls are.

    `provider` and `model` are what it calls, `input_tokens` the whole prompt, `max_output_tokens` its limit; without
    one it is the model's, or what fits. `max_usage`, `requires` and `service_tier` are those of a reserve. Each of
    these may be a function of the arguments that the guarded one is called with. `lease_calls` is that of `wrap`.

    `usage` takes what the function returned and returns a `Usage` or a response of a provider; without it, what is
    returned is read. With `says_when_sent` nothing counts as sent until the function says `current_call().sending()`.

    `tool` makes it a tool, that comes from `tool_source`: its calls are booked as tool calls. They cost `cost` dollars,
    also as a function of what was returned, or what the model costs, which is then held before.

    `denied_as` makes the exception to raise for a denial from its text, such as `ToolError` of mcp: an MCP server shows
    the model no other.
    """

    provider: str
    model: str | Callable[..., str]
    input_tokens: int | Callable[..., int]
    max_output_tokens: int | Callable[..., int] | None
    max_usage: Mapping[str, int] | Callable[..., Mapping[str, int]]
    requires: Sequence[str]
    service_tier: str | None
    lease_calls: int | None
    usage: Callable[[Any], object] | None
    says_when_sent: bool
    tool: str
    tool_source: str | None
    cost: Decimal | Callable[[Any], Decimal] | None
    denied_as: Callable[[str], BaseException] | None


class _Arguments:
    """The arguments of one call, with which what the decorator was told is found out."""

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs

    def of(self, said: Value | Callable[..., Value]) -> Value:
        return said(*self._args, **self._kwargs) if callable(said) else said


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTerms:
    """What was said of a guarded function, checked."""

    provider: str | None = None
    model: str | Callable[..., str] | None = None
    input_tokens: int | Callable[..., int] = 0
    max_output_tokens: int | Callable[..., int] | None = None
    max_usage: Mapping[str, int] | Callable[..., Mapping[str, int]] = field(default_factory=dict)
    requires: Sequence[str] = ()
    service_tier: str | None = None
    lease_calls: int | None = None
    usage: Callable[[Any], object] | None = None
    says_when_sent: bool = False
    tool: str | None = None
    tool_source: str | None = None
    cost: Decimal | Callable[[Any], Decimal] | None = None
    denied_as: Callable[[str], BaseException] | None = None

    def ask(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ask:
        """Return what is asked for one call; raises what a function of the arguments raises."""
        assert self.provider is not None, "only what calls a model asks"
        assert self.model is not None, "only what calls a model asks"
        arguments = _Arguments(args, kwargs)
        limit = arguments.of(self.max_output_tokens)
        return Ask(
            provider=self.provider,
            model=arguments.of(self.model),
            input_tokens=arguments.of(self.input_tokens),
            # A tool without a limit is one whose price is for the call.
            output_limit=0 if limit is None and self.tool is not None else limit,
            has_output=limit is not None or self.tool is None,
            requires=tuple(self.requires),
            service_tier=self.service_tier,
            max_usage=arguments.of(self.max_usage),
            tool=self.tool,
            is_counted=False,
        )

    @contextmanager
    def admitting(self) -> Iterator[None]:
        """Raise a denial within the block as the caller wants it."""
        try:
            yield
        except Denied as denial:
            if self.denied_as is None:
                raise
            raise self.denied_as(str(denial)) from denial

    def response(self, result: object) -> object:
        """Return what says how much a call used; raises what a stated function raises."""
        return result if self.usage is None else self.usage(result)

    def event(self, context: CallContext, result: object, most: Usage | None, model: str | None) -> ToolCall:
        """Return the call of a tool that returned something; `most` and `model` are those of its hold, if it has one.

        What was held is what it used, unless something says more exactly; of tokens that is an estimate.
        """
        failed = member(result, "is_error") is True or member(result, "isError") is True
        said = _event(self, context, {}, failed=failed)
        if self.cost is not None:
            return ToolCall(**said, cost=_Arguments((result,), {}).of(self.cost))
        reading = reading_or_none(self.response(result))
        if model is None or self.provider is None:
            return ToolCall(**said)
        if reading is None:
            is_estimate = most is not None and most.input_tokens + most.output_tokens > 0
            return ToolCall(**said, provider=self.provider, model=model, usage=most, estimated=is_estimate)
        use = use_of(reading, {}, provider=self.provider, model=model)
        tier = use.actual.get("service_tier", self.service_tier)
        served = use.actual.get("model", model)
        return ToolCall(**said, provider=self.provider, model=served, usage=use.usage, service_tier=tier)

    def failed_event(
        self, context: CallContext, error: BaseException, most: Usage | None, model: str | None
    ) -> ToolCall:
        """Return the call of a tool that raised an exception: it costs what it may have cost."""
        failure = failure_of(error)
        said = _event(self, context, {"error_kind": failure.kind}, failed=True)
        if failure.free is not None:
            return ToolCall(**said)
        if self.cost is not None:
            # What a stated function would take was not returned.
            return ToolCall(**said) if callable(self.cost) else ToolCall(**said, cost=self.cost)
        if model is None or self.provider is None:
            return ToolCall(**said)
        return ToolCall(**said, provider=self.provider, model=model, usage=most, estimated=True)


def terms_of(fields: FunctionFields) -> tuple[FunctionTerms, CallContext]:
    """Return what was said of a function, and whose its calls are; raises TypeError for what does not go together."""
    names = FunctionFields.__annotations__.keys() - ContextFields.__annotations__.keys()
    said: dict[str, Any] = {name: value for name, value in fields.items() if name in names}
    context: Any = {name: value for name, value in fields.items() if name not in names}
    terms = FunctionTerms(**said)
    if (terms.provider is None) != (terms.model is None):
        raise TypeError("guard needs both, provider=… and model=…, to hold what a call may cost")
    if terms.model is None and terms.tool is None:
        raise TypeError("guard needs what the function calls: give provider=… and model=…, or tool=… for a tool")
    if terms.tool is None and "input_tokens" not in said:
        raise TypeError("guard needs input_tokens=…: a number, or a function of the arguments, such as count_tokens")
    if terms.tool is None and (terms.cost is not None or terms.tool_source is not None):
        raise TypeError("cost and tool_source are for tools: give tool=… as well")
    if terms.tool is not None and terms.lease_calls:
        raise TypeError("lease_calls is for functions that call a model: each call of a tool has a hold of its own")
    return terms, context_of(context)


def _event(terms: FunctionTerms, context: CallContext, measured: Measured, *, failed: bool) -> dict[str, Any]:
    scope = context.scope()
    return {
        "source": "guard",
        "agent_type": context.required_agent_type(),
        "run_id": scope.run_id,
        "user": scope.user,
        "cost_center": scope.cost_center,
        "request_type": context.request_type,
        "tags": context.tags or None,
        "tool": terms.tool,
        "tool_source": terms.tool_source,
        "outcome": "error" if failed else "ok",
        "measured": measured,
    }
