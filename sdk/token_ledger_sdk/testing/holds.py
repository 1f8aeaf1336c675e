"""Holds of the fake service: reserve and lease, settle, release, extend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ..providers import Usage
from .accounts import Account, Amounts, minus, plus, shown
from .books import Answer, FakeBooks, FakeDenial, FakeHold, RecordedCall
from .prices import ModelPrice, fitted, money_text
from .problems import FakeProblem, missing, not_open


def reserve(books: FakeBooks, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a reserve; raises FakeProblem for a denial."""
    return books.once("reserve", body, lambda: _permitted(books, body, None))


def lease(books: FakeBooks, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request for a lease."""
    return books.once("lease", body, lambda: _permitted(books, body, body["calls"]))


def admit(books: FakeBooks, call: Mapping[str, Any], most_calls: int | None = None) -> FakeHold:
    """Hold what a call, or the calls of a lease, may take; raises FakeProblem for one that has no room."""
    books.check_running()
    run = None if call.get("run_id") is None else books.open_run(call["run_id"])
    price = books.price_of(call["provider"], call["model"])
    if price is None:
        words = f"no price is known for model {call['model']!r} of provider {call['provider']!r}"
        raise FakeProblem(422, "unknown_model", f"{words}; give the fake service one with price(…)", field="model")
    facts = books.facts_of(call, run)
    if run is not None and any(each.strict and call["agent_type"] not in each.allocations for each in run.lineage):
        detail = f"the run is strict and allocates nothing to agent type {call['agent_type']!r}"
        raise _denied(books, call, "not_allocated", f"{detail}; rebalance the run to give it a share", [], None)
    path = books.accounts_for(facts, run)
    output = call["max_output_tokens"]
    wanted = (call["input_tokens"] + output, price.hold_nanos(call, output), 1)
    short = [(account, unit) for account in path if (unit := account.lacking(wanted)) is not None]
    if any(account.is_hard for account, _ in short):
        fits = _fitting(call, price, path, is_lease=most_calls is not None)
        raise _refused(books, call, "budget_exceeded", short, wanted, fits)
    calls = 1 if most_calls is None else _lendable(path, wanted, most_calls)
    if calls < 1:
        scarce = [(a, n) for a in path if a.is_hard for n in range(3) if a.lendable(wanted, n) == 0][:1]
        raise _refused(books, call, "lease_too_small", scarce, wanted, _fitting(call, price, path, is_lease=True))
    held = (wanted[0] * calls, wanted[1] * calls, calls)
    if most_calls is not None:
        short = [(account, unit) for account in path if (unit := account.lacking(held)) is not None]
    warnings = [account.refusal(unit, held[unit]) for account, unit in short]
    for account in path:
        account.held = plus(account.held, held)
        account.leases += most_calls is not None
    now = books.clock.now
    ends = now + timedelta(seconds=call.get("ttl_seconds", 300))
    if most_calls is not None:
        ends = min([ends, *(each.window_end for each in path if each.is_hard and each.window_end is not None)])
    hold = FakeHold(
        str(books.number()), dict(call), facts, price, held, path, now, ends, warnings,
        calls=None if most_calls is None else calls,
    )  # fmt: skip
    books.holds[hold.reservation_id] = hold
    return hold


def settle(books: FakeBooks, reservation_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a settle, of a whole call or of a part."""
    hold = books.holds.get(reservation_id)
    if hold is None:
        raise missing("reservation", reservation_id)
    said = {"idempotency_key": f"settle:{reservation_id}", "hold": reservation_id, **body}
    return books.once("settle", said, lambda: _settled(books, hold, body))


def release(books: FakeBooks, reservation_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a release; one that was released is as it should be."""
    hold = books.holds.get(reservation_id)
    if hold is None:
        raise missing("reservation", reservation_id)
    if hold.state == "released":
        return hold_answer(hold, replayed=True)
    if hold.state != "held":
        raise not_open(hold.state, "released")
    books.end(hold, "released", body.get("reason"))
    return hold_answer(hold)


def extend(books: FakeBooks, reservation_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer an extension."""
    hold = books.holds.get(reservation_id)
    if hold is None:
        raise missing("reservation", reservation_id)
    if hold.state != "held":
        raise not_open(hold.state, "extended")
    hold.expires_at = max(hold.expires_at, books.clock.now + timedelta(seconds=body["ttl_seconds"]))
    answer = hold_answer(hold)
    stop = _why_stop(books, hold)
    answer["directive"]["stop"] = stop is not None
    if stop is not None:
        answer["stop"] = stop
    return answer


def hold_answer(hold: FakeHold, *, replayed: bool = False, as_lease: bool = False) -> dict[str, Any]:
    """Return a hold as it stands; a lease has its rates beside it."""
    name = {"provider": hold.call["provider"], "model": hold.model}
    answer: dict[str, Any] = {
        "lease_id" if as_lease else "reservation_id": hold.reservation_id,
        "state": hold.state,
        "created_at": hold.created_at.isoformat(),
        "expires_at": hold.expires_at.isoformat(),
        "run_id": hold.run_id,
        "held": shown(hold.remaining),
        **name,
        "booked_model": name,
        "directive": {
            "model": hold.model,
            "max_output_tokens": hold.call["max_output_tokens"],
            "compression": "none",
            "stop": hold.state != "held",
            "advice": [],
        },
        "warnings": hold.warnings,
        "replayed": replayed,
    }
    if missing_prices := hold.price.without_price(hold.call):
        answer["without_price"] = missing_prices
    if hold.end_reason is not None:
        answer["end_reason"] = hold.end_reason
    if as_lease:
        seconds = (hold.expires_at - hold.created_at).total_seconds()
        answer |= {"seconds_left": None if replayed else seconds, "calls": hold.calls, "price": _lease_price(hold)}
        answer["account_ids"] = [str(account.account_id) for account in hold.path]
    return answer


def booked(
    books: FakeBooks, call: RecordedCall, path: list[Account], nanos: int, calls: int
) -> tuple[RecordedCall, RecordedCall | None, str | None]:
    """Book a call unless its response was booked; returns it, the earlier one, and how the two are alike."""
    earlier = books.earlier(call) if call.response_id else None
    repetition = None if earlier is None else "duplicate" if books.is_same(earlier, call) else "other_usage"
    if repetition == "duplicate":
        call = replace(call, usage=Usage(0, 0), cost=Decimal(0))
        return call, earlier, repetition
    books.book(call, path, (call.usage.input_tokens + call.usage.output_tokens, nanos, calls))
    return call, earlier, repetition


def _permitted(books: FakeBooks, body: Mapping[str, Any], most_calls: int | None) -> Answer:
    try:
        hold = admit(books, body, most_calls)
    except FakeProblem as problem:
        if "denial_id" not in problem.extra:
            raise
        denial = problem

        def deny(replayed: bool) -> dict[str, Any]:
            raise FakeProblem(denial.status, denial.code, denial.detail, **{**denial.extra, "replayed": replayed})

        return deny
    return lambda replayed: hold_answer(hold, replayed=replayed, as_lease=most_calls is not None)


def _lendable(path: list[Account], wanted: Amounts, most: int) -> int:
    bounds = [account.lendable(wanted, unit) for account in path if account.is_hard for unit in range(3)]
    return min([most, *(bound for bound in bounds if bound is not None)])


def _fitting(
    call: Mapping[str, Any], price: ModelPrice, path: list[Account], *, is_lease: bool = False
) -> int | None:  # fmt: skip
    most = call["max_output_tokens"]
    for account in path:
        if not account.is_hard:
            continue
        share = 2 * (account.leases + 1) if is_lease else 1
        tokens, nanos, calls = (room if room is None or room <= 0 else room // share for room in account.available)
        if calls is not None and calls < 1:
            return None
        if tokens is not None:
            most = min(most, tokens - call["input_tokens"])
        if nanos is not None:
            most = min(most, price.most_output(call, nanos))
    return most if most >= 1 else None


def _refused(
    books: FakeBooks, call: Mapping[str, Any], code: str, short: list[tuple[Account, int]], wanted: Amounts,
    fits: int | None,
) -> FakeProblem:  # fmt: skip
    refusals = [account.refusal(unit, wanted[unit]) for account, unit in short]
    first = refusals[0]
    left = f"budget {first['budget']!r} has {first['available']} of {first['limit']} {first['unit']} left"
    is_lease = code == "lease_too_small"
    end = "too little for a lease; make single calls" if is_lease else f"the call needs {first['requested']}"
    return _denied(books, call, code, f"{left}, {end}", refusals, fits)


def _denied(
    books: FakeBooks, call: Mapping[str, Any], code: str, detail: str, refusals: list[dict[str, Any]],
    fits: int | None,
) -> FakeProblem:  # fmt: skip
    books.denials.append(FakeDenial(code=code, call=dict(call), refusals=tuple(refusals)))
    return FakeProblem(
        402, code, detail,
        denial_id=str(books.number()), refusals=refusals,
        fits=None if fits is None else {"max_output_tokens": fits},
        directive={"stop": code != "lease_too_small"}, replayed=False,
    )  # fmt: skip


def _settled(books: FakeBooks, hold: FakeHold, body: Mapping[str, Any]) -> Answer:
    part = body.get("part", False)
    if hold.state in ("settled", "released"):
        detail = f"the reservation is {hold.state} already; the usage is kept in quarantine for review"
        kept = str(books.number())
        raise FakeProblem(409, "reservation_not_open", detail, quarantine_id=kept, replayed=False)
    usage, clamped = fitted(Usage(**body["usage"]))
    model = body.get("model") or hold.model
    provider = body.get("provider") or hold.call["provider"]
    price = hold.price if model == hold.model else books.price_of(provider, model)
    is_whole = hold.calls is not None or (not part and hold.parts == Usage(0, 0))
    used, lines = _charged(hold, price or hold.price, usage)
    facts = {**hold.facts, "provider": provider, "model": model}
    is_other = model != hold.model
    path = books.accounts_for(facts, books.run_of(hold.call)) if is_other else hold.path
    calls = 0 if part and hold.calls is None else 1
    amounts = (usage.input_tokens + usage.output_tokens, used, calls)
    over = plus(hold.drawn, (*amounts[:2], 1))
    uncached = amounts[0] - usage.cache_read_tokens
    call = RecordedCall(
        event_id=str(books.number()), kind="llm_call", user=facts["user"], agent_type=facts["agent_type"],
        cost_center=facts["cost_center"], request_type=facts["request_type"], provider=provider, model=model,
        usage=usage, cost=Decimal(money_text(used)), run_id=hold.run_id, reservation_id=hold.reservation_id,
        tool=body.get("tool") or hold.call.get("tool"), tags=hold.call.get("tags") or {},
        estimated=body.get("estimated", False), failed=body.get("outcome") == "error", part=part,
        late=hold.state == "expired", overrun=any(one > most for one, most in zip(over, hold.amounts, strict=True))
        or hold.drawn_uncached + uncached > hold.uncached,
        unpriced=price is None or any(nanos is None for _, _, nanos in lines),
        response_id=body.get("response_id") if is_whole else None, measured=body.get("measured") or {},
    )  # fmt: skip
    call, earlier, repetition = booked(books, call, path, used, calls)
    if repetition == "duplicate":
        used, lines = 0, []
        amounts, uncached = (0, 0, 0), 0
        call = replace(call, overrun=False)
    if part:
        _draw(hold, amounts, usage)
        hold.drawn_uncached += uncached
    else:
        books.end(hold, "settled")
    ended = hold.state if part else "settled"
    remaining = (0, 0, 0) if hold.state != "held" else hold.remaining

    def answer(replayed: bool) -> dict[str, Any]:
        asked = {"provider": hold.call["provider"], "model": hold.model}
        served = {"provider": provider, "model": model}
        said: dict[str, Any] = {
            "reservation_id": hold.reservation_id,
            "event_id": call.event_id,
            "state": ended,
            "booked_model": served,
            "requested": asked,
            "served": served,
            "cost": money_text(used),
            "tokens": amounts[0],
            "overrun": call.overrun,
            "late": call.late,
            "unpriced": call.unpriced,
            "clamped": clamped,
            "booked": repetition != "duplicate",
            "repetition": repetition,
            "earlier_event_id": None if earlier is None else earlier.event_id,
            "part": part,
            "remaining": shown(remaining) if part else None,
            "stop": _why_stop(books, hold),
            "replayed": replayed,
        }
        if lines:
            said["others"] = [line_answer(*line) for line in lines]
        return said

    return answer


def line_answer(kind: str, count: int, nanos: int | None) -> dict[str, Any]:
    """Return what was used of a kind that few calls have."""
    return {"kind": kind, "count": count, "cost": None if nanos is None else money_text(nanos)}


def _charged(hold: FakeHold, price: ModelPrice, usage: Usage) -> tuple[int, list[tuple[str, int, int | None]]]:
    """Return what a settle costs: parts cost together what the call costs as a whole."""
    if hold.calls is not None or hold.parts == Usage(0, 0):
        return price.charge(usage)
    return price.charge(hold.parts + usage)[0] - price.charge(hold.parts)[0], price.charge(usage)[1]


def _draw(hold: FakeHold, amounts: Amounts, usage: Usage) -> None:
    before = hold.remaining
    hold.drawn = plus(hold.drawn, amounts)
    if hold.calls is None:
        hold.parts += usage
    if hold.state == "held":
        for account in hold.path:
            account.held = minus(account.held, minus(before, hold.remaining))


def _why_stop(books: FakeBooks, hold: FakeHold) -> str | None:
    stop = books.why_stop(books.run_of(hold.call))
    if stop is not None or hold.calls is None or hold.state not in ("expired", "held"):
        return stop
    if hold.state == "expired":
        return "lease_expired"
    is_over = any(account.is_hard and account.lacking((0, 0, 0)) is not None for account in hold.path)
    return "lease_outdated" if is_over else None


def _lease_price(hold: FakeHold) -> dict[str, Any]:
    rates = {kind: format(rate.normalize(), "f") for kind, rate in hold.price.rates.items()}
    fee = money_text(hold.price.announced_nanos(hold.call))
    request = format(Decimal(fee).normalize(), "f")
    return {
        "price_id": "1",
        "tiers": [{"above_input_tokens": 0, **rates, "request": request}],
        "tier_mode": "cliff",
    }
