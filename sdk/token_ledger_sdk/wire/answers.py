"""What came back for a request: an HTTP answer, or none. Either is read as fields or raised as an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..errors import InvalidAnswer, Unreachable
from .fields import Fields
from .problems import error_from, problem_from


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `retry_after_seconds` is what its Retry-After header asks for, `tag` its entity tag."""

    status: int
    content: bytes
    retry_after_seconds: float | None = None
    tag: str | None = None

    @property
    def is_unchanged(self) -> bool:
        """Whether the answer is the one whose tag was sent."""
        return self.status == 304

    def read(self) -> Fields:
        """Return the fields of the body, or raise the ApiError that it describes."""
        if not 200 <= self.status < 300:
            raise error_from(problem_from(self.status, self.content, self.retry_after_seconds))
        try:
            return Fields(json.loads(self.content))
        except ValueError:
            raise InvalidAnswer(
                f"the answer with status {self.status} is not JSON: check that the address is Token Ledger's"
            ) from None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back; `may_retry` is false for a request that can never be sent."""

    cause: Exception
    may_retry: bool = True

    def read(self) -> Fields:
        """Raise Unreachable, caused by the transport's error."""
        name = type(self.cause).__name__
        raise Unreachable(f"Token Ledger gave no answer: {name}: {self.cause}") from self.cause
