"""What is said of a tool: how long it may take, when it is called again or not at all, what is kept."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .context import CallContext
from .functions import FunctionFields, FunctionTerms, terms_of
from .tool_keys import cache_key, plain_arguments

Names = str | Sequence[str]
Mark = tuple[str, str]
"""A tenant, and the name of a tool or of something that tools read and write."""
NO_FALLBACK: object = object()
MOST_RETRIES = 100


class ToolFields(FunctionFields, total=False):
    """What a tool is, whose its calls are, and what is done when it fails.

    `tool` is its name, without one that of the function. What it costs is said as with `guard`.

    `timeout_seconds` ends an attempt. `fallback` is returned where the tool gave no answer in time, or was not called
    because it failed too often; a copy of it each time. `retries` is how often it is called again after a failure;
    `retry_on` limits this to exceptions of these classes. After `failures` in a row it is not called for
    `open_seconds`; with `failures=None`, it always is.

    `cache_seconds` is how long an answer is kept, for the same user and the same arguments; with `shared`, for all
    users of the tenant. `cache_key` takes the arguments, and returns what stands for them. `reads` names what answers
    are made from, and `invalidates` what a call changes: names, or those of tools, or a function of the arguments that
    returns some. Whatever has read it is forgotten then.
    """

    timeout_seconds: float | None
    fallback: object
    retries: int
    retry_on: type[Exception] | tuple[type[Exception], ...]
    failures: int | None
    open_seconds: float
    cache_seconds: float | None
    shared: bool
    cache_key: Callable[..., object] | None
    reads: Names | Callable[..., Names]
    invalidates: Names | Callable[..., Names]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTerms:
    """What was said of a tool, checked; `call` is what it has in common with other guarded functions."""

    call: FunctionTerms
    timeout_seconds: float | None = None
    fallback: object = NO_FALLBACK
    retries: int = 0
    retry_on: type[Exception] | tuple[type[Exception], ...] = Exception
    failures: int | None = 5
    open_seconds: float = 60.0
    cache_seconds: float | None = None
    shared: bool = False
    cache_key: Callable[..., object] | None = None
    reads: Names | Callable[..., Names] = ()
    invalidates: Names | Callable[..., Names] = ()
    signature: inspect.Signature | None = field(default=None, repr=False)
    stands: tuple[str, str] = ("", "")

    @property
    def name(self) -> str:
        """The tool's name."""
        assert self.call.tool is not None, "a tool has a name"
        return self.call.tool

    def of(self, function: Callable[..., Any]) -> ToolTerms:
        """Return these terms for a function, which names the tool where nothing else does; raises TypeError."""
        named = self.call.tool or str(getattr(function, "__name__", type(function).__name__))
        stands = (str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", named)))
        try:
            signature = inspect.signature(function)
        except ValueError:
            raise TypeError(f"{function!r} does not say which arguments it takes: give a `def` that calls it") from None
        return replace(self, call=replace(self.call, tool=named), signature=signature, stands=stands)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError for arguments that the function does not take."""
        assert self.signature is not None, "the terms of a function"
        self.signature.bind(*args, **kwargs)

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the arguments as text, for the key; raises TypeError for those that are no plain values."""
        assert self.signature is not None, "the terms of a function"
        if self.cache_key is not None:
            return plain_arguments(self.name, {"cache_key": self.cache_key(*args, **kwargs)})
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return plain_arguments(self.name, bound.arguments)

    def key(self, tenant: str, user: str, arguments: str) -> bytes:
        """Return the key under which the answer is kept."""
        owner = (tenant, self.name, *self.stands)
        return cache_key(owner if self.shared else (*owner, user), arguments)

    def read_marks(self, tenant: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> frozenset[Mark]:
        """Return what an answer is made from, and its tool."""
        return marks_of(tenant, [self.name, *_names(self.reads, args, kwargs)])

    def written_marks(self, tenant: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> frozenset[Mark]:
        """Return what a call changes."""
        return marks_of(tenant, _names(self.invalidates, args, kwargs))


def marks_of(tenant: str, names: Iterable[str]) -> frozenset[Mark]:
    """Return names as those of a tenant."""
    return frozenset((tenant, name) for name in names)


def tool_terms(fields: ToolFields) -> tuple[ToolTerms, CallContext]:
    """Return what was said of a tool, and whose its calls are; raises TypeError or ValueError for nonsense."""
    own = ToolFields.__annotations__.keys() - FunctionFields.__annotations__.keys()
    said: dict[str, Any] = {name: value for name, value in fields.items() if name in own}
    rest: Any = {name: value for name, value in fields.items() if name not in own}
    if "says_when_sent" in rest:
        raise TypeError("says_when_sent is for functions that call a model: use ledger.guard(…)")
    # A tool has its name from its function, which is not known yet.
    named: Any = {"tool": "tool", **rest}
    call, context = terms_of(named)
    terms = ToolTerms(call=replace(call, tool=rest.get("tool")), **said)
    _check_numbers(terms)
    only = terms.retry_on if isinstance(terms.retry_on, tuple) else (terms.retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in only):
        raise TypeError(f"retry_on is {terms.retry_on!r}: give a class of exceptions, or a tuple of some")
    if terms.cache_seconds is None and said.keys() & {"shared", "cache_key", "reads"}:
        raise TypeError("shared, cache_key and reads are for cached tools: give cache_seconds=… as well")
    if terms.cache_seconds is not None and terms.invalidates != ():
        raise TypeError(
            "a tool that changes something is called each time: give cache_seconds or invalidates, not both"
        )
    if terms.fallback is not NO_FALLBACK and terms.timeout_seconds is None and terms.failures is None:
        raise TypeError("fallback is for a tool that gave no answer in time: give timeout_seconds=… as well")
    return terms, context


def _check_numbers(terms: ToolTerms) -> None:
    for name in ("timeout_seconds", "open_seconds", "cache_seconds"):
        seconds = getattr(terms, name)
        if seconds is not None and not (_is_number(seconds) and seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"{name} is {seconds!r}: give a number of seconds above 0")
    for name, least, most in (("retries", 0, MOST_RETRIES), ("failures", 1, 1_000_000)):
        count = getattr(terms, name)
        if name == "failures" and count is None:
            continue
        if type(count) is not int or not least <= count <= most:
            raise ValueError(f"{name} is {count!r}: give a whole number from {least} to {most:,}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(said: Names | Callable[..., Names], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Sequence[str]:
    names = said(*args, **kwargs) if callable(said) else said
    names = [names] if isinstance(names, str) else [*names]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"reads and invalidates are names: {name!r} is none")
    return names
