"""Every problem becomes exactly one error of the tree, with its details."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk import errors
from token_ledger_sdk.directives import Fits, Refusal
from token_ledger_sdk.wire.problems import error_from, problem_from


def error_of(status: int, body: object) -> errors.ApiError:
    return error_from(problem_from(status, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", errors.Unauthenticated),
        (402, "budget_exceeded", errors.BudgetExceeded),
        (402, "not_allocated", errors.NotAllocated),
        (402, "a_code_of_tomorrow", errors.Denied),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (409, "idempotency_conflict", errors.IdempotencyConflict),
        (409, "run_not_open", errors.RunNotOpen),
        (409, "reservation_not_open", errors.ReservationNotOpen),
        (409, "a_code_of_tomorrow", errors.Conflict),
        (413, "body_too_large", errors.InvalidRequest),
        (422, "invalid_request", errors.InvalidRequest),
        (422, "unknown_model", errors.UnknownModel),
        (429, "", errors.Unavailable),
        (503, "unavailable", errors.Unavailable),
        (503, "outcome_unknown", errors.OutcomeUnknown),
        (500, "internal_error", errors.Unavailable),
        (599, "", errors.Unavailable),
        (302, "", errors.ApiError),
    ],
)
def test_kinds(status: int, code: str, kind: type[errors.ApiError]) -> None:
    error = error_of(status, {"code": code, "title": "T", "detail": "D"})
    assert type(error) is kind
    assert (error.status, error.code, error.problem.detail) == (status, code, "D")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b'{"code": 7, "errors": "x"}', b"\xff"])
def test_answers_of_a_proxy_keep_their_status(content: bytes) -> None:
    error = error_from(problem_from(502, content, retry_after_seconds=2.0))
    assert isinstance(error, errors.Unavailable)
    assert (error.code, error.retry_after_seconds) == ("", 2.0)


def test_field_errors_are_told() -> None:
    fields = [{"field": "usage.input_tokens", "message": "too large"}, "not an object"]
    error = error_of(422, {"code": "invalid_request", "detail": "Bad.", "errors": fields})
    assert error.field_errors == (errors.FieldError("usage.input_tokens", "too large"),)
    assert str(error) == "422 invalid_request: Bad. (usage.input_tokens: too large)"


def test_a_closed_run_says_how() -> None:
    error = error_of(409, {"code": "run_not_open", "run_state": "cancelled"})
    assert isinstance(error, errors.RunNotOpen)
    assert error.run_state == "cancelled"


def test_a_denial_carries_its_reasons(service: Any) -> None:
    response = service.denial()
    error = error_from(problem_from(402, response.content))
    assert isinstance(error, errors.BudgetExceeded)
    assert isinstance(error, errors.Denied)
    (refusal,) = error.refusals
    assert (refusal.available, refusal.requested, refusal.subject) == (120, 1700, {"user": "ana"})
    assert refusal.window_end is None
    assert (error.denial_id, error.fits, error.directive.stop) == ("41", Fits(64), True)
    assert str(error) == "budget 'daily' of user=ana has 120 tokens available, 1700 requested"


def test_money_in_a_refusal_is_exact() -> None:
    refusal = {"budget": "run", "enforcement": "hard", "unit": "cost", "available": "0.000000001"}
    error = error_of(402, {"code": "budget_exceeded", "refusals": [refusal], "fits": None})
    assert isinstance(error, errors.BudgetExceeded)
    assert error.refusals[0].available == Decimal("0.000000001")
    assert error.fits is None
    assert isinstance(error.refusals[0], Refusal)


def test_errors_cross_processes(service: Any) -> None:
    denial = error_from(problem_from(402, service.denial().content))
    for error in (denial, error_of(409, {"code": "run_not_open", "run_state": "closed"})):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.problem, str(copy)) == (type(error), error.problem, str(error))


def test_the_tree_at_the_top_is_the_tree() -> None:
    drawn = {
        line.lstrip(" │├└─").split()[0]: (len(line) - len(line.lstrip(" │├└─"))) // 4
        for line in (errors.__doc__ or "").splitlines()
        if line.startswith("    ")
    }
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.LedgerError)
    }
    ours = {
        name: [each for each in kind.__mro__ if issubclass(each, errors.LedgerError)] for name, kind in kinds.items()
    }
    assert {name: len(line) for name, line in ours.items()} == drawn


def test_the_readme_draws_the_same_tree() -> None:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    tree = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    assert "\n".join(tree) in readme
