"""Knows of requests that a wrapped client does not guard which are free, and says what to do instead of the others.

What is not known to be free is refused, so that a later version of a library brings nothing that costs money unseen.
Storage that is charged by the day, as of files, passes: no call is charged for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

INSTEAD = (
    "call it on the client that was not wrapped: in a function that @ledger.guard(…) holds for, or reporting with"
    " ledger.record(…) what it has used"
)
LATER = (
    "make it with the client that was not wrapped, and report its results, once they are there, with"
    " ledger.record([ResponseEvent(…), …])"
)
SESSION = (
    "connect with the client that was not wrapped, and hold for each of its responses with ledger.reserve(…), which"
    " settle(…) books"
)
NO_MODEL = "names no model, so that nobody can say what it may cost: give model=…"


@dataclass(frozen=True, slots=True)
class UnguardedRequests:
    """The requests of an API with POST that are not guarded: `free` ones, and what to do instead of `refused` ones.

    A path has `*` for a part of any name, and ends with `/**` for all below it; one without counts first, then free
    ones. A request with another method is free.
    """

    free: Sequence[str]
    refused: Mapping[str, str]

    def knows(self, method: str, path: str) -> bool:
        """Whether a request is on one of the lists."""
        return method.lower() != "post" or any(_matches(pattern, path) for pattern in (*self.free, *self.refused))

    def check(self, method: str, path: str) -> None:
        """Let a free request pass; raises TypeError for any other."""
        if method.lower() != "post":
            return
        advice = self.refused.get(path)
        if advice is None and any(_matches(pattern, path) for pattern in self.free):
            return
        others = (advice for pattern, advice in self.refused.items() if _matches(pattern, path))
        refuse(f"POST {path}", advice or next(others, INSTEAD))


def refuse(what: str, advice: str) -> NoReturn:
    """Raise TypeError for what is not guarded."""
    raise TypeError(f"{what} may cost money, and is not guarded: {advice}")


def path_of(url: str, base_url: str = "") -> str:
    """Return the path of a request below the address of its API, without its query."""
    path = url.partition("?")[0]
    return "/" + path.removeprefix(base_url).strip("/")


def _matches(pattern: str, path: str) -> bool:
    parts = "(/[^/]+)*".join(re.escape(part).replace(r"\*", "[^/]+") for part in pattern.split("/**"))
    return re.fullmatch(parts, path) is not None
