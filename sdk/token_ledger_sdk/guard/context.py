"""Whose calls are made here: user, run, agent type, cost center, tags, carried by a context variable.

A context variable is copied into every task that is started, and into `asyncio.to_thread`; a thread of another pool
begins without a context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self, TypedDict

from ..errors import ConfigurationError
from ..wire.calls import Scope


class HasRunId(Protocol):
    """A run of either client."""

    @property
    def run_id(self) -> str:
        """Return its id."""


class ContextFields(TypedDict, total=False):
    """What may be said of the calls of a block, or of a wrapped client.

    `run` is a run or its id; a run has a user and a cost center of its own. `apply` are the techniques that directives
    may apply, such as "model_downgrade".
    """

    user: str | None
    run: HasRunId | str | None
    agent_type: str | None
    cost_center: str | None
    request_type: str | None
    tags: Mapping[str, str]
    apply: Sequence[str]


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose a call is, and what its reports say of it; None where nobody has said."""

    user: str | None = None
    run_id: str | None = None
    agent_type: str | None = None
    cost_center: str | None = None
    request_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    apply: tuple[str, ...] | None = None

    def within(self, outer: CallContext) -> CallContext:
        """Return this context inside another: what it does not say is what the outer one says; tags add up.

        A user of its own ends the outer run and cost center, as these are another user's.
        """
        is_others = self.user is not None or self.run_id is not None
        whose = self if is_others else outer
        return CallContext(
            user=whose.user,
            run_id=whose.run_id,
            agent_type=self.agent_type or outer.agent_type,
            cost_center=self.cost_center or (None if is_others and self.user != outer.user else outer.cost_center),
            request_type=self.request_type or outer.request_type,
            tags={**outer.tags, **self.tags},
            apply=outer.apply if self.apply is None else self.apply,
        )

    def scope(self) -> Scope:
        """Return whose call it is; raises ConfigurationError if nobody has said it."""
        if self.run_id is not None:
            return Scope(run_id=self.run_id)
        if self.user is None:
            raise ConfigurationError(
                "this call has no user: wrap the client with user=…, or make the call within ledger.context(user=…)"
            )
        return Scope(user=self.user, cost_center=self.cost_center)

    def required_agent_type(self) -> str:
        """Return the agent type; raises ConfigurationError if nobody has said it."""
        if self.agent_type is None:
            raise ConfigurationError(
                "this call has no agent type: wrap the client with agent_type=…, or make the call within"
                " ledger.context(agent_type=…)"
            )
        return self.agent_type

    def pinned_to(self, run_id: str | None) -> CallContext:
        """Return this context as one of a run, if there is one, whoever else is named."""
        return self if run_id is None else replace(self, run_id=run_id)

    def tagged(self, tags: Mapping[str, str]) -> CallContext:
        """Return this context with these tags."""
        return self if tags is self.tags else replace(self, tags=tags)


def context_of(fields: ContextFields) -> CallContext:
    """Build a context from what was said; raises TypeError for a name that is unknown."""
    if unknown := sorted(fields.keys() - ContextFields.__annotations__.keys()):
        raise TypeError(f"unknown argument {unknown[0]!r}: give some of {', '.join(ContextFields.__annotations__)}")
    run, apply = fields.get("run"), fields.get("apply")
    return CallContext(
        user=fields.get("user"),
        run_id=run if run is None or isinstance(run, str) else run.run_id,
        agent_type=fields.get("agent_type"),
        cost_center=fields.get("cost_center"),
        request_type=fields.get("request_type"),
        tags=dict(fields.get("tags") or {}),
        apply=None if apply is None else tuple(apply),
    )


NO_CONTEXT = CallContext()
_current: ContextVar[CallContext] = ContextVar("token_ledger_context", default=NO_CONTEXT)


def current_context() -> CallContext:
    """Return the context of this thread or task."""
    return _current.get()


class ContextBlock:
    """A block whose calls are made in a context; blocks within it inherit what they do not say themselves."""

    def __init__(self, said: CallContext) -> None:
        self._said = said
        self._tokens: list[Token[CallContext]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self._said.within(_current.get())))
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())
