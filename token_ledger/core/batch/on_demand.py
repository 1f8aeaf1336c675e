"""Owns fields that are made when they are first used.

A batch of a quiet tenant uses a few of some forty lists. Making all of them took an eighth of its time, and
`functools.cached_property`, which takes a lock in Python 3.11, a twelfth for these few.
"""

from collections.abc import Callable
from typing import Generic, TypeVar, get_origin

Content = TypeVar("Content")


class OnDemand(Generic[Content]):
    """A field of a class; what is made stands in `vars` of the object from its first use on."""

    def __init__(self, make: Callable[[], Content]) -> None:
        self._make = get_origin(make) or make  # `list[int]()` takes five times as long as `list()`

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Content:
        made: Content = self._make()
        instance.__dict__[self._name] = made
        return made
