"""What a client and a run have for tools: the decorator, calls at the same time, and what a write makes stale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from ..waiting_async import WorkAsync, gathered_async
from .wrapping import AsyncWrapper

if TYPE_CHECKING:
    from ..guard.tool_terms import ToolFields

Function = TypeVar("Function", bound=Callable[..., Any])
Any1 = TypeVar("Any1")
Any2 = TypeVar("Any2")
Any3 = TypeVar("Any3")
Any4 = TypeVar("Any4")
Any5 = TypeVar("Any5")


class AsyncToolMethods(ABC):
    """The methods for tools."""

    @abstractmethod
    def _tool_wrapper(self) -> tuple[AsyncWrapper, str | None]:
        """Return what makes tools, and the run that they are of, if they are of one."""

    @overload
    def tool(self, function: Function, /) -> Function: ...

    @overload
    def tool(self, /, **said: Unpack[ToolFields]) -> Callable[[Function], Function]: ...

    def tool(self, function: Callable[..., Any] | None = None, /, **said: Unpack[ToolFields]) -> Any:
        """Make a function a tool: `@run.tool`, or `@run.tool(timeout_seconds=10, retries=2, cache_seconds=60)`.

        Each call is one event. It is ended in time, made again after a failure, not made for a while after many, or
        answered from the cache, as far as this is said. Calls raise RunNotOpen once the run has ended, ToolTimedOut,
        BreakerOpen, and what the function raises. Raises TypeError or ValueError for what makes no sense, and
        ConfigurationError if the extra `tools` is not installed.
        """
        wrapper, run_id = self._tool_wrapper()
        decorate = wrapper.guard_resilient_tool(said, run_id)
        return decorate if function is None else decorate(function)

    def invalidate_tools(self, *names: str) -> int:
        """Forget answers of cached tools with these names, or that have read what has them; returns how many.

        A tool that says what it `invalidates` does this by itself. Other processes have caches of their own.
        """
        return self._tool_wrapper()[0].invalidate_tools(names)

    @overload
    async def gather(self, work1: WorkAsync[Any1], /) -> tuple[Any1]: ...

    @overload
    async def gather(self, work1: WorkAsync[Any1], work2: WorkAsync[Any2], /) -> tuple[Any1, Any2]: ...

    @overload
    async def gather(
        self, work1: WorkAsync[Any1], work2: WorkAsync[Any2], work3: WorkAsync[Any3], /
    ) -> tuple[Any1, Any2, Any3]: ...

    @overload
    async def gather(
        self, work1: WorkAsync[Any1], work2: WorkAsync[Any2], work3: WorkAsync[Any3], work4: WorkAsync[Any4], /
    ) -> tuple[Any1, Any2, Any3, Any4]: ...

    @overload
    async def gather(
        self,
        work1: WorkAsync[Any1],
        work2: WorkAsync[Any2],
        work3: WorkAsync[Any3],
        work4: WorkAsync[Any4],
        work5: WorkAsync[Any5],
        /,
    ) -> tuple[Any1, Any2, Any3, Any4, Any5]: ...

    @overload
    async def gather(self, *works: WorkAsync[Any1], return_exceptions: Literal[False] = False) -> tuple[Any1, ...]: ...

    @overload
    async def gather(
        self, *works: WorkAsync[Any1], return_exceptions: Literal[True]
    ) -> tuple[Any1 | BaseException, ...]: ...

    async def gather(self, *works: WorkAsync[Any], return_exceptions: bool = False) -> tuple[Any, ...]:
        """Do what does not need each other at the same time; returns the results in the order of what was given.

        Give what can be awaited; the synchronous client takes functions, and calls each in a thread with this one's
        context. All come to their end, and are booked, also if one fails: then its error is raised, that of the first
        one in order, or with `return_exceptions` stands in the place of its result.
        """
        outcomes = await gathered_async(works)
        errors = [error for _, error in outcomes if error is not None]
        if errors and not return_exceptions:
            for other in errors[1:]:
                errors[0].add_note(f"besides, another call failed: {type(other).__name__}: {other}")
            raise errors[0]
        return tuple(value if error is None else error for value, error in outcomes)
