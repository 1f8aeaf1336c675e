"""Problems of the fake service, in the words of the real one."""

from __future__ import annotations

from typing import Any


class FakeProblem(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, code: str, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra
        if field is not None:
            self.extra["errors"] = [{"field": field, "message": detail}]

    def body(self) -> dict[str, Any]:
        """Return the problem as the service writes it."""
        return {
            "type": f"urn:token-ledger:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }


def missing(noun: str, number: str, field: str | None = None) -> FakeProblem:
    """Return the problem of an id that is none."""
    field = field or f"{noun}_id"
    return FakeProblem(404, f"{noun}_not_found", f"there is no {noun} {number}; check {field}", field=field)


def not_open(state: str, done: str) -> FakeProblem:
    """Return the problem of a hold that has ended."""
    detail = f"the reservation is {state} already and can't be {done}; reserve again for another call"
    return FakeProblem(409, "reservation_not_open", detail, state=state)
