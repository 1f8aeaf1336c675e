"""Reports of the fake service: events without a hold, and preflights."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..errors import UsageMissing
from ..providers import Usage, reading_of, reading_of_recorded
from .books import Answer, FakeBooks, RecordedCall
from .holds import admit, booked
from .prices import ModelPrice, fitted, money_text, nanos_of
from .problems import FakeProblem

_KINDS = ("llm_call", "tool_call", "cache_hit")


def record(books: FakeBooks, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a list of events, each with a result of its own."""
    return {"results": [_result(books, number, event) for number, event in enumerate(body["events"])]}


def preflight(books: FakeBooks, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer whether planned calls would fit, one after the other; nothing is held."""
    tried = books.copied()
    asked = [call.get("count", 1) for call in body["calls"]]
    fits: list[int] = []
    stopped: dict[str, Any] | None = None
    warnings: dict[str, dict[str, Any]] = {}
    for call, count in zip(body["calls"], asked, strict=True):
        done = 0
        while done < count:
            try:
                hold = admit(tried, call)
            except FakeProblem as problem:
                refusals = problem.extra.get("refusals", [])
                stopped = stopped or {"code": problem.code, "detail": problem.detail, "refusals": refusals}
                break
            done += 1
            for warning in hold.warnings:
                warnings.setdefault(f"{warning['account_id']} {warning['unit']}", warning)
        fits.append(done)
    sizes = [
        (call, count, books.price_of(call["provider"], call["model"]))
        for call, count in zip(body["calls"], asked, strict=True)
    ]
    return {
        "finishes": fits == asked,
        "asked": asked,
        "fits": fits,
        "tokens": sum(count * (call["input_tokens"] + call["max_output_tokens"]) for call, count, _ in sizes),
        "cost": money_text(sum(count * _most(price, call) for call, count, price in sizes)),
        "stopped_by": stopped,
        "warnings": [*warnings.values()],
    }


def _most(price: ModelPrice | None, call: Mapping[str, Any]) -> int:
    return 0 if price is None else price.hold_nanos(call, call["max_output_tokens"])


def _result(books: FakeBooks, number: int, event: Mapping[str, Any]) -> dict[str, Any]:
    if not (event.get("source") and event.get("idempotency_key")):
        detail = f"events.{number}: source and idempotency_key are needed"
        return {"status": "refused", "code": "invalid_request", "detail": detail}
    keyed = {**event, "idempotency_key": f"{event['source']} {event['idempotency_key']}"}
    try:
        return books.once("event", keyed, lambda: _recorded(books, event))
    except FakeProblem as problem:
        status = "conflict" if problem.status == 409 else "quarantined"
        kept = {"quarantine_id": str(books.number()), "replayed": False}
        return {"status": status, "code": problem.code, "detail": problem.detail, **kept}


def _recorded(books: FakeBooks, event: Mapping[str, Any]) -> Answer:
    kind = event.get("type", "llm_call")
    if kind not in _KINDS:
        raise FakeProblem(422, "invalid_request", f"type: give one of {', '.join(_KINDS)}")
    if event.get("run_id") is not None and event["run_id"] not in books.runs:
        detail = f"there is no run {event['run_id']}; the event is kept in quarantine for review"
        raise FakeProblem(404, "run_not_found", detail)
    said, model, response_id = _use_of(event)
    usage, clamped = fitted(said)
    run = books.run_of(event)
    facts = books.facts_of({**event, "model": model}, run)
    price = None if model is None else books.price_of(event.get("provider") or "", model)
    nanos, lines = (0, []) if price is None else price.charge(usage)
    saved = nanos if kind == "cache_hit" else None
    if saved is not None:
        usage, nanos = Usage(0, 0), 0
    if event.get("cost") is not None:
        nanos = nanos_of(event["cost"])
    is_priced = price is not None or (kind == "tool_call" and (model is None or event.get("cost") is not None))
    call = RecordedCall(
        event_id=str(books.number()), kind=kind, user=facts["user"], agent_type=facts["agent_type"],
        cost_center=facts["cost_center"], request_type=facts["request_type"], provider=event.get("provider"),
        model=model, usage=usage, cost=Decimal(money_text(nanos)), run_id=event.get("run_id"),
        tool=event.get("tool"), tool_source=event.get("tool_source"), tags=event.get("tags") or {},
        estimated=event.get("estimated", False), failed=event.get("outcome") == "error",
        unpriced=not is_priced or any(each is None for _, _, each in lines), response_id=response_id,
        measured=event.get("measured") or {},
    )  # fmt: skip
    calls = 1 if kind == "llm_call" else 0
    call, earlier, repetition = booked(books, call, books.accounts_for(facts, run), nanos, calls)
    is_duplicate = repetition == "duplicate"

    def answer(replayed: bool) -> dict[str, Any]:
        result: dict[str, Any] = {
            "status": "duplicate" if is_duplicate else "booked",
            "event_id": call.event_id,
            "cost": money_text(0 if is_duplicate else nanos),
            "tokens": call.usage.input_tokens + call.usage.output_tokens,
            "unpriced": call.unpriced,
            "clamped": clamped and not is_duplicate,
            "replayed": replayed,
        }
        if repetition is not None and earlier is not None:
            result |= {"repetition": repetition, "earlier_event_id": earlier.event_id}
        if saved is not None:
            result["saved"] = money_text(saved)
        return result

    return answer


def _use_of(event: Mapping[str, Any]) -> tuple[Usage, str | None, str | None]:
    """Return what an event says was used, of which model, and the id of the response."""
    body = event.get("body")
    if body is None:
        said = event.get("usage")
        return Usage(**said) if said else Usage(0, 0), event.get("model"), event.get("response_id")
    try:
        reading = reading_of(body) if isinstance(body, Mapping) else reading_of_recorded(body)
    except UsageMissing as error:
        raise FakeProblem(422, "invalid_request", f"body: {error}") from error
    return reading.usage, event.get("model") or reading.model, reading.response_id
