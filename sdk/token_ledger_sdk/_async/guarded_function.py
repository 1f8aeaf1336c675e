"""Guards functions: admits before each call, books after it from what the function returned or raised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from ..guard.current import running_call
from ..guard.functions import FunctionTerms
from ..waiting_async import check_function_async
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall
from .sender import AsyncSender
from .tool_booking import AsyncToolBooking

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("token_ledger_sdk")


def guard_function(guard: AsyncGuard, terms: FunctionTerms) -> Callable[[Function], Function]:
    """Return a decorator for functions that call a model; it raises TypeError for what is no such function."""

    def decorate(function: Function) -> Function:
        check_function_async(function)

        @wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            with terms.admitting():
                call = await guard.admit(terms.ask(args, kwargs))
            running = running_call.set(call)
            try:
                # A wrapped client within, of the same model, makes this very call, and knows more of it.
                with call.covering():
                    result = await function(*args, **kwargs)
            except BaseException as error:
                _tell(call, terms, error)
                await call.end(error)
                raise
            finally:
                running_call.reset(running)
            await _settle(call, terms, result)
            return result

        return cast(Function, guarded)

    return decorate


def guard_tool(guard: AsyncGuard, terms: FunctionTerms, sender: AsyncSender) -> Callable[[Function], Function]:
    """Return a decorator for tools, whose calls are booked as such."""

    def decorate(function: Function) -> Function:
        check_function_async(function)

        @wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            tool = AsyncToolBooking(sender, terms, guard.context())
            with terms.admitting():
                await tool.admit(guard, args, kwargs)
            running = running_call.set(tool.call)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                await tool.failed(error)
                raise
            finally:
                running_call.reset(running)
            await tool.returned(result)
            return result

        return cast(Function, guarded)

    return decorate


def _tell(call: AsyncGuardedCall, terms: FunctionTerms, error: BaseException) -> None:
    """Say of a call that an exception has ended it, unless somebody within has said more."""
    if not terms.says_when_sent:
        call.sent_unseen()
    if call.is_running:
        call.failed(error)


async def _settle(call: AsyncGuardedCall, terms: FunctionTerms, result: object) -> None:
    if not terms.says_when_sent:
        call.sent_unseen()
    try:
        response = terms.response(result)
    except Exception:
        # The answer matters more to the caller than its figures do.
        _log.warning("the function that says what a guarded call used has failed: booked as an estimate", exc_info=True)
        await call.end(None)
        return
    await call.settle(response)
