# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Calls a tool: from the cache or once for all who ask, in time, again where that helps, and not while it is broken."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from ..errors import BreakerOpen, ToolTimedOut
from ..guard.context import CallContext
from ..guard.current import running_call
from ..guard.tool_cache import Flight, Kept
from ..guard.tool_retries import is_tools_fault, logging_retries
from ..guard.tool_terms import NO_FALLBACK, Mark, ToolTerms
from ..waiting_sync import check_function_sync, limited_sync, seat_sync
from ..wire.events import ToolCall
from ..wire.runs import RunSnapshot, read_request
from .guard import Guard
from .sender import Sender
from .tool_attempts import ToolAttempts
from .toolbox import Toolbox

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("token_ledger_sdk")
_flying: ContextVar[tuple[Flight[Any], ...]] = ContextVar("token_ledger_flying", default=())
"""The calls of cached tools that this code is within: one that waited for them would wait for itself."""


class GuardedTool:
    """A function that is a tool, with the cache and the breaker that it shares; `tenant` tells tenants apart."""

    def __init__(
        self,
        function: Callable[..., Any],
        guard: Guard,
        terms: ToolTerms,
        sender: Sender,
        toolbox: Toolbox,
        tenant: str,
    ) -> None:
        self._function = function
        self._guard = guard
        self._terms = terms.of(function)
        self._sender = sender
        self._toolbox = toolbox
        self._tenant = tenant
        name, failures = self._terms.name, terms.failures
        self._breaker = (
            None if failures is None else toolbox.breaker(name, failures=failures, open_seconds=terms.open_seconds)
        )

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the tool; raises TypeError for arguments that it does not take, before anything is done.

        The fallback stands for an answer that did not come in time, or was not asked for.
        """
        self._terms.check(args, kwargs)
        written = self._terms.written_marks(self._tenant, args, kwargs)
        context = self._guard.context()
        context.scope()
        context.required_agent_type()
        attempts = ToolAttempts(self._sender, self._terms.call, context)
        try:
            if self._terms.cache_seconds is not None:
                return self._answer(args, kwargs, attempts, context, self._terms.cache_seconds)
            return self._uncached(args, kwargs, attempts, written)
        except (ToolTimedOut, BreakerOpen) as error:
            if self._terms.fallback is NO_FALLBACK:
                raise
            _log.warning("tool %s gave no answer (%s): its fallback is used", self._terms.name, error)
            return copy.deepcopy(self._terms.fallback)

    def _uncached(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], attempts: ToolAttempts, written: frozenset[Mark]
    ) -> Any:
        result = self._called(args, kwargs, attempts, written)
        attempts.returned(result)
        return result

    def _answer(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        attempts: ToolAttempts,
        context: CallContext,
        seconds: float,
    ) -> Any:
        """Return what is kept, or what somebody who asked before gets, or what the tool says."""
        cache = self._toolbox.cache
        arguments = self._terms.arguments(args, kwargs)
        key = self._terms.key(self._tenant, self._user(context), arguments)
        marks = self._terms.read_marks(self._tenant, args, kwargs)
        attempts.begin()
        again = False
        while True:
            found = cache.look(self._terms.name, key, marks, seat_sync(), again=again)
            if isinstance(found, Kept):
                attempts.answered_from_cache(found)
                return found.copy()
            flight, is_ours = found
            if is_ours:
                return self._fly(args, kwargs, attempts, flight, seconds)
            if flight in _flying.get():
                return self._uncached(args, kwargs, attempts, frozenset())
            flight.done.wait()
            if flight.error is not None:
                attempts.failed_with_others(flight.error)
                raise flight.error
            if flight.kept is not None:
                attempts.answered_from_cache(flight.kept)
                return flight.kept.copy()
            again = True

    def _fly(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        attempts: ToolAttempts,
        flight: Flight[Any],
        seconds: float,
    ) -> Any:
        flying = _flying.set((*_flying.get(), flight))
        kept, shared = None, None
        try:
            result = self._called(args, kwargs, attempts, frozenset())
            answer = attempts.answer(result)
            kept = self._kept(result, answer, flight.marks, seconds)
        except Exception as error:
            # What is no fault of the tool is this caller's alone, and those who wait try themselves.
            shared = error if is_tools_fault(error) else None
            raise
        finally:
            _flying.reset(flying)
            self._toolbox.cache.land(flight, kept, shared)
            flight.done.set()
        attempts.book_answer(answer)
        return result

    def _kept(self, result: object, answer: ToolCall, marks: frozenset[Mark], seconds: float) -> Kept | None:
        try:
            return Kept(copy.deepcopy(result), answer, marks, seconds)
        except Exception:
            _log.warning("an answer of tool %s is not cached: it can't be copied", self._terms.name, exc_info=True)
            return None

    def _called(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], attempts: ToolAttempts, written: frozenset[Mark]
    ) -> Any:
        """Call the function until it answers or is not to be tried again; books the call where it fails."""

        def attempt() -> Any:
            return self._attempt(args, kwargs, attempts, written)

        most, only = self._terms.retries + 1, self._terms.retry_on
        retrying = Retrying(
            stop=stop_after_attempt(most),
            wait=self._toolbox.waits,
            retry=retry_if_exception(lambda error: isinstance(error, only) and self._may_help(error)),
            before_sleep=logging_retries(self._terms.name, most, self._guard.context()),
            sleep=self._toolbox.pause,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except BaseException as error:
            attempts.failed(error)
            raise

    def _attempt(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], attempts: ToolAttempts, written: frozenset[Mark]
    ) -> Any:
        permit = None if self._breaker is None else self._breaker.admit()
        is_called = False
        try:
            with self._terms.call.admitting():
                attempts.admit(self._guard, args, kwargs)
            is_called = True
            running = running_call.set(attempts.call)
            try:
                result = limited_sync(
                    self._terms.timeout_seconds,
                    lambda: self._function(*args, **kwargs),
                    lambda: self._wrote(written),
                )
            finally:
                running_call.reset(running)
                self._wrote(written)
        except BaseException as error:
            if is_called:
                attempts.attempt_failed(error)
            if permit is not None:
                permit.failed() if is_called and is_tools_fault(error) else permit.let_go()
            raise
        if permit is not None:
            permit.returned()
        return result

    def _may_help(self, error: BaseException) -> bool:
        return is_tools_fault(error) and (self._breaker is None or self._breaker.state != "open")

    def _wrote(self, written: frozenset[Mark]) -> None:
        """Forget what was read from what a call may have changed, whether it says that it did or not."""
        if written:
            self._toolbox.cache.invalidate(written)

    def _user(self, context: CallContext) -> str:
        """Return whose answers these are: a run has a user of its own."""
        scope = context.scope()
        if scope.run_id is None or self._terms.shared:
            return scope.user or ""
        user = self._toolbox.user_of(self._tenant, scope.run_id)
        if user is None:
            user = (self._sender.send(read_request(scope.run_id))).read(RunSnapshot).user
            self._toolbox.remember_user(self._tenant, scope.run_id, user)
        return user


def guard_tool_with(
    toolbox: Toolbox, guard: Guard, terms: ToolTerms, sender: Sender, tenant: str
) -> Callable[[Function], Function]:
    """Return a decorator for tools; it raises TypeError for what is no function that returns."""

    def decorate(function: Function) -> Function:
        check_function_sync(function)
        tool = GuardedTool(function, guard, terms, sender, toolbox, tenant)

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return tool.call(args, kwargs)

        return cast(Function, guarded)

    return decorate
