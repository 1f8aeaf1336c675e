"""What came back for a request: an HTTP answer, or none. Either is read as fields or raised as an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidAnswer, Problem, Unreachable
from .fields import Fields
from .problems import error_from, problem_from, problem_of


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `retry_after_seconds` is what its Retry-After header asks for, `tag` its entity tag.

    One that came in a list of answers is decoded already: `body`.
    """

    status: int
    content: bytes = b""
    retry_after_seconds: float | None = None
    tag: str | None = None
    body: Mapping[str, object] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300

    @property
    def is_unchanged(self) -> bool:
        """Whether the answer is the one whose tag was sent."""
        return self.status == 304

    def read(self) -> Fields:
        """Return the fields of the body, or raise the ApiError that it describes."""
        if not self.is_good:
            raise error_from(self._problem())
        if self.body is not None:
            return Fields(self.body)
        try:
            return Fields(json.loads(self.content))
        except ValueError:
            raise InvalidAnswer(
                f"the answer with status {self.status} is not JSON: check that the address is Token Ledger's"
            ) from None

    def _problem(self) -> Problem:
        if self.body is not None:
            return problem_of(self.status, self.body, self.retry_after_seconds)
        return problem_from(self.status, self.content, self.retry_after_seconds)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back; `may_retry` is false for a request that can never be sent."""

    cause: Exception
    may_retry: bool = True

    def read(self) -> Fields:
        """Raise Unreachable, caused by the transport's error."""
        name = type(self.cause).__name__
        raise Unreachable(f"Token Ledger gave no answer: {name}: {self.cause}") from self.cause
