"""Copies of clients of providers: each is of a class of its own, which is a subclass of the caller's."""

from __future__ import annotations

from functools import cache, cached_property
from inspect import getattr_static
from typing import Any


def guarded_copy(client: Any, calls: type) -> Any:
    """Return a copy of a client that does what `calls` says in place of its own methods; it shares the connections."""
    kind: Any = type(client)
    guarded: Any = object.__new__(_guarded_class(kind, calls))
    # Resources that the client has made already call the client that made them, so the copy makes its own. A region is
    # kept in the same way, and has to stay.
    made = {
        name
        for name, value in vars(client).items()
        if isinstance(getattr_static(kind, name, None), cached_property) and not isinstance(value, str | None)
    }
    vars(guarded).update({name: value for name, value in vars(client).items() if name not in made})
    return guarded


@cache
def _guarded_class(kind: Any, calls: type) -> type:
    return type(kind.__name__, (calls, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
