# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Guards functions: admits before each call, books after it from what the function returned or raised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from ..guard.current import running_call
from ..guard.functions import FunctionTerms
from ..waiting_sync import check_function_sync
from .guard import Guard
from .guarded_call import GuardedCall
from .sender import Sender
from .tool_booking import ToolBooking

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("token_ledger_sdk")


def guard_function(guard: Guard, terms: FunctionTerms) -> Callable[[Function], Function]:
    """Return a decorator for functions that call a model; it raises TypeError for what is no such function."""

    def decorate(function: Function) -> Function:
        check_function_sync(function)

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            with terms.admitting():
                call = guard.admit(terms.ask(args, kwargs))
            running = running_call.set(call)
            try:
                # A wrapped client within, of the same model, makes this very call, and knows more of it.
                with call.covering():
                    result = function(*args, **kwargs)
            except BaseException as error:
                _tell(call, terms, error)
                call.end(error)
                raise
            finally:
                running_call.reset(running)
            _settle(call, terms, result)
            return result

        return cast(Function, guarded)

    return decorate


def guard_tool(guard: Guard, terms: FunctionTerms, sender: Sender) -> Callable[[Function], Function]:
    """Return a decorator for tools, whose calls are booked as such."""

    def decorate(function: Function) -> Function:
        check_function_sync(function)

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            tool = ToolBooking(sender, terms, guard.context())
            with terms.admitting():
                tool.admit(guard, args, kwargs)
            running = running_call.set(tool.call)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                tool.failed(error)
                raise
            finally:
                running_call.reset(running)
            tool.returned(result)
            return result

        return cast(Function, guarded)

    return decorate


def _tell(call: GuardedCall, terms: FunctionTerms, error: BaseException) -> None:
    """Say of a call that an exception has ended it, unless somebody within has said more."""
    if not terms.says_when_sent:
        call.sent_unseen()
    if call.is_running:
        call.failed(error)


def _settle(call: GuardedCall, terms: FunctionTerms, result: object) -> None:
    if not terms.says_when_sent:
        call.sent_unseen()
    try:
        response = terms.response(result)
    except Exception:
        # The answer matters more to the caller than its figures do.
        _log.warning("the function that says what a guarded call used has failed: booked as an estimate", exc_info=True)
        call.end(None)
        return
    call.settle(response)
