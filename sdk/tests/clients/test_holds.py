"""Holds that are settled, released, or left open, and the runs around them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from token_ledger_sdk import (
    AnthropicStreamUsage,
    Hold,
    InvalidRequest,
    LedgerError,
    OpenAIStreamUsage,
    OtherUse,
    OutcomeUnknown,
    ReservationNotOpen,
    TokenLedger,
    Unreachable,
    Usage,
    UsageMissing,
)
from token_ledger_sdk._sync import outbox
from token_ledger_sdk.unsettled import Ending, choose_ending

SETTLE = "POST /v1/reservations/21/settle"
RELEASE = "POST /v1/reservations/21/release"


@pytest.fixture(autouse=True)
def nothing_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """What got no answer is sent again by the tests only; how it is in the background is in `test_outbox`."""
    monkeypatch.setattr(outbox, "retry_pause_seconds", lambda rounds: 3_600.0)


@pytest.fixture
def hold(client: TokenLedger, call: dict[str, Any]) -> Hold:
    return client.reserve(user="ana", **call)


class ConnectError(Exception):
    """Of some library this package does not know."""


class ProxyConnectTimeout(httpx2.ConnectTimeout):
    """A subclass, as libraries make them."""


@pytest.mark.parametrize(
    ("ended", "tried", "not_sent", "error", "ending"),
    [
        (False, False, False, None, Ending.ESTIMATE),
        (False, False, False, ValueError(), Ending.ESTIMATE),
        (False, False, False, KeyboardInterrupt(), Ending.ESTIMATE),
        (False, False, False, httpx2.ReadTimeout("slow"), Ending.ESTIMATE),
        (False, False, False, httpx2.RemoteProtocolError("cut"), Ending.ESTIMATE),
        (False, False, False, ConnectionResetError(), Ending.ESTIMATE),
        (False, False, False, httpx2.ConnectError("refused"), Ending.RELEASE),
        (False, False, False, ProxyConnectTimeout("slow"), Ending.RELEASE),
        (False, False, False, ConnectError(), Ending.RELEASE),
        (False, False, True, None, Ending.RELEASE),
        (False, False, True, ValueError(), Ending.RELEASE),
        (False, True, True, httpx2.ConnectError("refused"), Ending.REPEAT),
        (False, True, False, None, Ending.REPEAT),
        (True, True, True, httpx2.ConnectError("refused"), Ending.NOTHING),
        (True, False, False, None, Ending.NOTHING),
    ],
)
def test_endings(ended: bool, tried: bool, not_sent: bool, error: Any, ending: Ending) -> None:
    assert choose_ending(ended=ended, tried=tried, not_sent=not_sent, error=error) is ending


@pytest.mark.parametrize("not_sent", [False, True])
@pytest.mark.parametrize("error", [None, httpx2.ConnectError("refused")])
def test_what_was_booked_in_part_is_not_released(not_sent: bool, error: Exception | None) -> None:
    ending = choose_ending(ended=False, tried=False, not_sent=not_sent, error=error, ran=True)
    assert ending is Ending.ESTIMATE


def refusing(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("refused", request=request)


def call_openai(max_retries: int) -> None:
    with httpx2.Client(transport=httpx2.MockTransport(refusing)) as http:
        provider = openai.OpenAI(api_key="none", base_url="http://p.test", http_client=http, max_retries=max_retries)
        provider.with_options(timeout=60).chat.completions.create(model="any", messages=[])


def call_anthropic(max_retries: int) -> None:
    with httpx2.Client(transport=httpx2.MockTransport(refusing)) as http:
        provider = anthropic.Anthropic(
            api_key="none", base_url="http://p.test", http_client=http, max_retries=max_retries
        )
        provider.messages.create(model="any", max_tokens=9, messages=[])


@pytest.mark.parametrize("call_provider", [call_openai, call_anthropic])
@pytest.mark.parametrize("max_retries", [0, 1])
def test_of_what_a_library_tries_again_the_last_attempt_decides(
    call_provider: Callable[[int], None], max_retries: int, hold: Hold, service: Any
) -> None:
    with pytest.raises((openai.APIConnectionError, anthropic.APIConnectionError)), hold:
        call_provider(max_retries)
    assert (service.paths()[1:], service.body(-1)["reason"]) == (
        [RELEASE],
        "no connection to the provider: ConnectError",
    )


def test_a_hold_says_what_to_call(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    evidence = {
        "budget": "daily",
        "subject": {"user": "ana"},
        "unit": "cost",
        "used": "0.95",
        "limit": "1",
        "percent": 95,
    }
    advice = {
        "trigger": "high_cost",
        "technique": "model_downgrade",
        "applied": True,
        "model": "gpt-5-nano",
        "evidence": evidence,
    }
    service.directive = {
        "model": "gpt-5-nano",
        "max_output_tokens": 300,
        "compression": "aggressive",
        "advice": [advice],
    }
    hold = client.reserve(user="ana", **call)
    assert (hold.model, hold.provider, hold.max_output_tokens) == ("gpt-5-nano", "openai", 300)
    assert (hold.reservation_id, hold.held.cost) == ("21", Decimal("0.00125"))
    (given,) = hold.directive.advice
    assert given.evidence is not None
    assert (given.applied, given.evidence.used) == (True, Decimal("0.95"))


@pytest.mark.parametrize("kind", ["searches", "input_tokens", "cache_read_tokens"])
def test_a_kind_that_nobody_can_announce_is_refused_before_anything_is_held(
    client: TokenLedger, service: Any, call: dict[str, Any], kind: str
) -> None:
    most = {"web_searches": 5, kind: 1}
    wrong = f"max_usage names '{kind}', which is no such kind: give some of audio_input_tokens, .*, web_searches, "
    with pytest.raises(TypeError, match=wrong):
        client.reserve(user="ana", **call, max_usage=most)
    with pytest.raises(TypeError, match=wrong):
        client.preflight([{**call, "max_usage": most}], user="ana")
    with pytest.raises(TypeError, match=wrong):
        client.lease(user="ana", calls=3, **call, max_usage=most)
    assert service.requests == []


@pytest.mark.parametrize(("most", "searches"), [({"web_searches": 5}, 5), ({}, 0), (None, 0)])
def test_what_is_announced_is_in_the_estimate(
    client: TokenLedger, service: Any, call: dict[str, Any], most: Any, searches: int
) -> None:
    with client.reserve(user="ana", **call, max_usage=most):
        pass
    assert service.body(-1)["usage"].get("web_searches", 0) == searches


def test_settling_a_response(hold: Hold, service: Any) -> None:
    with hold:
        response = {"id": "chatcmpl-1", "usage": {"prompt_tokens": 1_100, "completion_tokens": 200}}
        settlement = hold.settle(response, original_input_tokens=2_000)
    assert settlement.cost == Decimal("0.0004175")
    assert service.paths()[1:] == [SETTLE]
    body = service.body(1)
    assert body["idempotency_key"] == "settle:21"
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (1_100, 200)
    assert (body["response_id"], body["original_input_tokens"]) == ("chatcmpl-1", 2_000)
    assert "estimated" not in body


def test_the_response_id_given_wins(hold: Hold, service: Any) -> None:
    hold.settle({"id": "theirs", "usage": {"prompt_tokens": 1}}, response_id="mine")
    assert service.body(1)["response_id"] == "mine"


@pytest.mark.parametrize("odd", ["", "x" * 201, "two\nlines", "\x00", "\ud800", 7])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_odd_response_id_does_not_cost_the_usage(hold: Hold, service: Any, odd: Any, streamed: bool) -> None:
    response: dict[str, Any] = {"id": odd, "usage": {"prompt_tokens": 1_100, "completion_tokens": 200}}
    stream = OpenAIStreamUsage()
    stream.add({**response, "choices": []})
    hold.settle(stream if streamed else response)
    assert "response_id" not in service.body(1)
    assert service.body(1)["usage"]["input_tokens"] == 1_100


@pytest.mark.parametrize("usual", ["x" * 200, "chatcmpl-ü 1"])
def test_any_printable_response_id_is_kept(hold: Hold, service: Any, usual: str) -> None:
    hold.settle({"id": usual, "usage": {"prompt_tokens": 1}})
    assert service.body(1)["response_id"] == usual


@pytest.mark.parametrize(
    ("provider", "named", "said", "booked"),
    [
        ("openai", "gpt-5-mini-2025-08-07", {}, "gpt-5-mini-2025-08-07"),
        ("openai", "gpt-5-mini", {}, None),
        ("azure", "gpt-5-mini-2025-08-07", {}, None),
        ("openai", "gpt-5-mini-2025-08-07", {"model": "mine"}, "mine"),
        ("openai", "gpt-5-mini-2025-08-07", {"provider": "azure"}, None),
    ],
)
def test_the_model_that_served_is_booked(
    client: TokenLedger, service: Any, provider: str, named: str, said: Any, booked: str | None, call: dict[str, Any]
) -> None:
    service.provider = provider
    hold = client.reserve(user="ana", **{**call, "provider": provider})
    stream = OpenAIStreamUsage()
    stream.add({"id": "a", "model": named, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
    hold.settle_part(stream, **said)
    hold.settle(stream, **said)
    for index in (1, 2):
        assert service.body(index).get("model") == booked
    assert ("response_id" in service.body(1), service.body(2)["response_id"]) == (False, "a")


SEARCHED = {
    "object": "response",
    "service_tier": "flex",
    "output": [{"type": "web_search_call", "status": "completed", "action": {"type": "search"}}],
    "usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 0}},
}


def test_kinds_and_tiers_are_sent(hold: Hold, service: Any) -> None:
    hold.settle(SEARCHED)
    body = service.body(1)
    assert body["usage"]["input_tokens"] == 9
    assert (body["usage"]["web_searches"], body["service_tier"]) == (1, "flex")


def test_what_kinds_cost_is_read_with_the_price_that_was_assumed(hold: Hold, service: Any) -> None:
    lines = [{"kind": "web_searches", "count": 1, "cost": "0.020000000", "assumed_price_id": "-5"},
             {"kind": "images", "count": 2, "cost": None}]  # fmt: skip
    service.script = [httpx2.Response(200, json={**service.settlement(), "others": lines})]
    assert hold.settle(SEARCHED).others == (
        OtherUse(kind="web_searches", count=1, cost=Decimal("0.02"), assumed_price_id="-5"),
        OtherUse(kind="images", count=2, cost=None),
    )


def test_by_which_price_and_at_which_list_cost_a_call_is_booked_is_read(hold: Hold, service: Any) -> None:
    priced = {**service.settlement(), "price_id": "412", "list_cost": "0.020000000"}
    service.script = [httpx2.Response(200, json=priced)]
    settled = hold.settle(SEARCHED)
    assert (settled.price_id, settled.list_cost) == ("412", Decimal("0.02"))


def test_the_standard_tier_is_not_said(hold: Hold, service: Any) -> None:
    hold.settle({**SEARCHED, "service_tier": "default"})
    assert "service_tier" not in service.body(1)


def booked_by(service: Any, index: int) -> tuple[int, int]:
    usage = service.body(index)["usage"]
    return usage["input_tokens"], usage["output_tokens"]


def test_parts_and_their_settle_book_the_calls_use_once(hold: Hold, service: Any) -> None:
    stream = OpenAIStreamUsage()
    with hold:
        for tokens, finish_reason in ((10, None), (30, None), (30, None), (40, "stop")):
            usage = {"prompt_tokens": 600, "completion_tokens": tokens}
            stream.add({"id": "a", "choices": [{"finish_reason": finish_reason}], "usage": usage})
            hold.settle_part(stream.partial())
        hold.settle(stream)
    assert service.paths()[1:] == [SETTLE] * 4
    assert [booked_by(service, index) for index in range(1, 5)] == [(600, 10), (0, 20), (0, 10), (0, 0)]
    assert [service.body(index).get("part") for index in range(1, 5)] == [True, True, True, None]
    assert len({service.body(index)["idempotency_key"] for index in range(1, 5)}) == 4


def test_a_part_with_nothing_new_sends_nothing(hold: Hold, service: Any) -> None:
    assert hold.settle_part(Usage(0, 0)) is None
    assert hold.settle_part(Usage(600, 40)) is not None
    assert hold.settle_part(Usage(600, 40)) is None
    assert hold.settle_part(Usage(500, 30)) is None
    assert service.paths()[1:] == [SETTLE]


@pytest.mark.parametrize(("booked", "rest"), [(Usage(1_200, 200), (0, 300)), (Usage(1_300, 600), (0, 0))])
def test_an_estimate_books_what_parts_have_not(hold: Hold, service: Any, booked: Usage, rest: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="mine"), hold:
        hold.settle_part(booked)
        raise ValueError("mine")
    assert booked_by(service, 2) == rest
    assert (service.body(2)["estimated"], service.body(2)["outcome"]) == (True, "error")


def test_a_part_without_an_answer_is_sent_again_before_anything_else(hold: Hold, service: Any) -> None:
    service.script = [httpx2.ReadTimeout("slow")] * 4
    with hold:
        with pytest.raises(Unreachable):
            hold.settle_part(Usage(600, 10))
        assert hold.settle_part(Usage(600, 30)) is not None
        hold.settle(Usage(600, 40))
    assert len({service.requests[index].content for index in range(1, 6)}) == 1
    assert [booked_by(service, index) for index in (5, 6, 7)] == [(600, 10), (0, 20), (0, 10)]
    assert service.paths()[8:] == []


def test_a_part_repeated_alone_is_answered(hold: Hold, service: Any) -> None:
    service.script = [service.problem(503, "outcome_unknown")] * 4
    with pytest.raises(OutcomeUnknown):
        hold.settle_part(Usage(600, 10))
    assert hold.settle_part(Usage(600, 10)) is not None
    assert service.paths()[1:] == [SETTLE] * 5
    assert service.requests[5].content == service.requests[1].content


def test_known_figures_wait_for_the_part_before_them(hold: Hold, service: Any) -> None:
    with pytest.raises(Unreachable), hold:
        service.script = [httpx2.ReadTimeout("slow")] * 4
        with pytest.raises(Unreachable):
            hold.settle_part(Usage(600, 10))
        service.script = [httpx2.ReadTimeout("slow")] * 4
        hold.settle(Usage(600, 40))
    assert len({service.requests[index].content for index in range(1, 10)}) == 1
    assert (booked_by(service, 10), "estimated" in service.body(10)) == ((0, 30), False)
    assert len(service.requests) == 11


def test_a_refused_part_is_not_counted_as_booked(hold: Hold, service: Any) -> None:
    with hold:
        service.script = [service.problem(422, "invalid_request")]
        with pytest.raises(InvalidRequest):
            hold.settle_part(Usage(600, 10))
        hold.settle(Usage(600, 40))
    assert [booked_by(service, index) for index in (1, 2)] == [(600, 10), (600, 40)]
    assert service.body(2)["idempotency_key"] == "settle:21"


def test_a_part_of_a_hold_that_ended_elsewhere_is_its_end(hold: Hold, service: Any) -> None:
    service.script = [service.problem(409, "reservation_not_open")]
    with pytest.raises(ReservationNotOpen), hold:
        hold.settle_part(Usage(600, 10))
    assert len(service.requests) == 2


def test_a_connection_lost_after_a_part_proves_nothing(hold: Hold, service: Any) -> None:
    with pytest.raises(httpx2.ConnectError), hold:
        hold.settle_part(Usage(1_200, 10))
        raise httpx2.ConnectError("refused")
    assert service.paths()[1:] == [SETTLE] * 2
    assert booked_by(service, 2) == (0, 490)


def test_releasing(hold: Hold, service: Any) -> None:
    with hold:
        assert hold.release(reason="cached").state == "released"
    assert service.paths()[1:] == [RELEASE]
    assert service.body(1) == {"idempotency_key": "release:21", "reason": "cached"}


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (TimeoutError("slow"), "error"), (KeyboardInterrupt(), "error")]
)
def test_leaving_unsettled_books_what_was_held(
    hold: Hold, service: Any, error: BaseException | None, outcome: str
) -> None:
    if error is None:
        with hold:
            pass
    else:
        with pytest.raises(type(error)), hold:
            raise error
    assert service.paths()[1:] == [SETTLE]
    body = service.body(1)
    assert (body["estimated"], body["outcome"]) == (True, outcome)
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (1_200, 500)


def test_the_estimate_keeps_to_the_directive(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    service.directive = {"model": "gpt-5-mini", "max_output_tokens": 300}
    with client.reserve(user="ana", cached_input_tokens=900, **call):
        pass
    usage = service.body(1)["usage"]
    assert (usage["input_tokens"], usage["cache_read_tokens"], usage["output_tokens"]) == (1_200, 900, 300)


def test_no_connection_releases(hold: Hold, service: Any) -> None:
    with pytest.raises(httpx2.ConnectTimeout), hold:
        raise httpx2.ConnectTimeout("slow")
    assert service.paths()[1:] == [RELEASE]


def test_not_sent_releases(hold: Hold, service: Any) -> None:
    with hold:
        hold.not_sent()
    assert service.paths()[1:] == [RELEASE]


def test_a_cut_stream_is_booked_as_an_estimate(hold: Hold, service: Any) -> None:
    stream = AnthropicStreamUsage()
    stream.add({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}})
    with pytest.raises(UsageMissing), hold:
        hold.settle(stream)
    body = service.body(1)
    assert (body["estimated"], body["outcome"], body["usage"]["output_tokens"]) == (True, "ok", 500)


def test_an_estimate_may_know_more(hold: Hold, service: Any) -> None:
    with hold:
        hold.settle_estimate(Usage(1_150, 40))
    body = service.body(1)
    assert (body["estimated"], body["usage"]["output_tokens"]) == (True, 40)
    assert len(service.requests) == 2


def test_figures_that_got_no_answer_are_sent_again_not_estimated(hold: Hold, service: Any) -> None:
    service.script = [httpx2.ReadTimeout("slow")] * 4
    with pytest.raises(Unreachable), hold:
        hold.settle(Usage(1_100, 200))
    assert service.paths()[1:] == [SETTLE] * 5
    assert service.requests[5].content == service.requests[1].content


def test_a_refused_settle_becomes_an_estimate(hold: Hold, service: Any) -> None:
    service.script = [service.problem(422, "invalid_request")]
    with pytest.raises(InvalidRequest), hold:
        hold.settle(Usage(1_100, 200), response_id="x" * 10_000)
    assert service.body(2)["estimated"] is True


def test_a_hold_that_ended_elsewhere_is_left_alone(hold: Hold, service: Any) -> None:
    service.script = [service.problem(409, "reservation_not_open")]
    with pytest.raises(ReservationNotOpen), hold:
        hold.settle(Usage(1_100, 200))
    assert len(service.requests) == 2


def test_the_callers_exception_is_never_hidden(hold: Hold, service: Any) -> None:
    service.script = [service.problem(403, "forbidden")]
    with pytest.raises(ValueError, match="of the caller") as caught, hold:
        raise ValueError("of the caller")
    assert caught.value.__notes__ == [
        "Token Ledger could not end hold 21: 403 forbidden: forbidden",
    ]


def test_without_one_our_own_error_is_raised(hold: Hold, service: Any) -> None:
    service.script = [service.problem(403, "forbidden")]
    with pytest.raises(LedgerError), hold:
        pass


def test_a_run_is_closed_at_its_end(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    with client.run(user="ana") as run, run.reserve(**call) as hold:
        hold.settle(Usage(1, 1))
    assert service.paths() == [
        "POST /v1/runs",
        "POST /v1/reservations",
        SETTLE,
        "POST /v1/runs/11/close",
    ]
    assert "user" not in service.body(1)
    assert service.body(1)["run_id"] == "11"


@pytest.mark.parametrize("verb", ["cancel", "close"])
def test_a_run_that_was_ended_is_not_closed_again(client: TokenLedger, service: Any, verb: str) -> None:
    with client.run(user="ana") as run:
        assert getattr(run, verb)().state in {"cancelled", "closed"}
    assert service.paths()[1:] == [f"POST /v1/runs/11/{verb}"]


def test_a_run_ended_by_others_ends_quietly(client: TokenLedger, service: Any) -> None:
    with client.run(user="ana"):
        service.script = [service.problem(409, "run_not_open", run_state="cancelled")]


def test_a_failing_close_does_not_hide_the_callers_exception(client: TokenLedger, service: Any) -> None:
    with pytest.raises(ValueError, match="caller") as caught, client.run(user="ana"):
        service.script = [service.problem(403, "forbidden")]
        raise ValueError("caller")
    assert caught.value.__notes__ == ["Token Ledger could not close run 11: 403 forbidden: forbidden"]
    with pytest.raises(LedgerError), client.run(user="ana"):
        service.script = [service.problem(403, "forbidden")]


def test_an_attached_run_is_somebody_elses(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    with client.attach("11") as run:
        run.reserve(**call)
        assert run.open().run_id == run.read().run_id == "11"
    assert service.paths() == ["POST /v1/reservations", "GET /v1/runs/11", "GET /v1/runs/11"]


def test_opening_again_uses_the_same_key(client: TokenLedger, service: Any) -> None:
    run = client.run(user="ana")
    with pytest.raises(LedgerError, match="not open yet"):
        _ = run.run_id
    run.open()
    run.open()
    assert service.requests[0].content == service.requests[1].content


def test_a_settlement_says_that_the_response_was_reported_before(hold: Hold, service: Any) -> None:
    found = {"booked": False, "repetition": "duplicate", "earlier_event_id": "7"}
    service.script = [httpx2.Response(200, json={**service.settlement(), **found})]
    settlement = hold.settle({"id": "chatcmpl-1", "usage": {"prompt_tokens": 1_100}})
    assert (settlement.booked, settlement.repetition, settlement.earlier_event_id) == (False, "duplicate", "7")


def test_a_service_that_finds_no_duplicates_has_booked(hold: Hold, service: Any) -> None:
    assert "booked" not in service.settlement()
    settlement = hold.settle({"id": "chatcmpl-1", "usage": {"prompt_tokens": 1_100}})
    assert (settlement.booked, settlement.repetition, settlement.earlier_event_id) == (True, None, None)


ADVISED = {
    "type": "message",
    "model": "claude-sonnet-5",
    "usage": {
        "input_tokens": 23,
        "output_tokens": 12,
        "service_tier": "priority",
        "iterations": [
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 25, "output_tokens": 2},
            {"type": "advisor_message", "model": "two\nlines", "input_tokens": 3, "output_tokens": 1},
        ],
    },
}


def test_other_models_within_a_call_are_sent(hold: Hold, service: Any) -> None:
    hold.settle(ADVISED)
    body = service.body(-1)
    assert [body["usage"][kind] for kind in ("input_tokens", "output_tokens")] == [23, 12]
    others = body["other_models"]
    # The service would refuse the second name, and with it the call: what it used counts for the model called.
    assert [each["model"] for each in others] == ["claude-opus-4-8", hold.model]
    assert [each["usage"]["input_tokens"] for each in others] == [25, 3]
    assert {each["service_tier"] for each in others} == {"priority"}


def test_a_part_leaves_other_models_to_the_end(hold: Hold, service: Any) -> None:
    hold.settle_part(ADVISED)
    assert "other_models" not in service.body(-1)
    hold.settle(ADVISED)
    assert len(service.body(-1)["other_models"]) == 2
