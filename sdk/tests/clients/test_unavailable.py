"""Calls while the service is away: denied, or let through unasked, and booked once when it is back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    AsyncTokenLedger,
    BudgetExceeded,
    Hold,
    LedgerError,
    TokenLedger,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Usage,
    allow_up_to,
    known_costs,
)
from token_ledger_sdk.testing import FakeService, ModelPrice
from token_ledger_sdk.unavailable import PROBE_SECONDS, Circuit

from ..conftest import Clock

USED = Usage(900, 40)
MOST = Usage(900, 100)
CALL: dict[str, Any] = {"agent_type": "a", "provider": "p", "model": "m", "input_tokens": 900, "max_output_tokens": 100}
AWAY = httpx2.ConnectError("away")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def client_of(service: FakeService, clock: Clock, **options: Any) -> TokenLedger:
    ledger = service.client(spool=False, **options)
    ledger._sender.circuit = Circuit(clock=clock)
    # What asks for a lost hold in the background would find out that the service is back.
    ledger._sender.outbox.give_back = lambda request: None  # type: ignore[method-assign]
    return ledger


@pytest.mark.parametrize("failure", [AWAY, httpx2.ReadTimeout("slow"), 500, 502, 503])
def test_allowed_calls_go_on_unasked_and_are_booked_once_when_the_service_is_back(
    failure: Any, service: FakeService
) -> None:
    clock = Clock()
    with client_of(service, clock, on_unavailable="allow") as ledger:
        service.fail(failure, times=10_000)
        with ledger.reserve(user="ada", **CALL, tags={"team": "x"}) as hold:
            assert (hold.is_unasked, hold.model, hold.max_output_tokens) == (True, "m", 100)
            assert (hold.directive.stop, hold.extend(900).state) == (False, "held")
            settlement = hold.settle(USED)
            assert (settlement.booked, settlement.tokens) == (False, 940)
        assert service.calls == []
        service._failures.clear()
        ledger.flush()
        ledger.flush()
    (call,) = service.calls
    assert (call.user, call.usage, call.tags) == ("ada", USED, {"team": "x", "admission": "unasked"})
    assert (call.agent_type, call.model, call.estimated) == ("a", "m", False)
    assert service.holds == []


@pytest.mark.parametrize("failure", [AWAY, 503])
def test_by_default_nothing_goes_unasked(failure: Any, service: FakeService) -> None:
    with client_of(service, Clock()) as ledger:
        service.fail(failure)
        with pytest.raises((Unreachable, Unavailable)):
            ledger.reserve(user="ada", **CALL)
        assert not ledger.reserve(user="ada", **CALL).is_unasked


@pytest.mark.parametrize(("status", "error"), [(401, Unauthenticated), (429, Unavailable), (400, LedgerError)])
def test_a_service_that_answers_is_not_away(status: int, error: type[LedgerError], service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable="allow") as ledger:
        service.fail(status)
        with pytest.raises(error):
            ledger.reserve(user="ada", **CALL)


def test_a_denial_stays_one(service: FakeService) -> None:
    service.deny()
    with client_of(service, Clock(), on_unavailable="allow") as ledger, pytest.raises(BudgetExceeded):
        ledger.reserve(user="ada", **CALL)


def test_up_to_a_limit_calls_go_unasked_and_after_the_outage_again(service: FakeService) -> None:
    clock = Clock()
    with client_of(service, clock, on_unavailable=allow_up_to(tokens=2_500)) as ledger:
        for _ in range(2):
            service.fail(AWAY, times=1)
            for _ in range(2):
                assert ledger.reserve(user="ada", **CALL).is_unasked
            with pytest.raises(Unreachable):
                ledger.reserve(user="ada", **CALL)
            clock.now += PROBE_SECONDS
            assert not ledger.reserve(user="ada", **CALL).is_unasked


def test_while_the_service_is_away_one_call_in_a_while_asks(service: FakeService) -> None:
    clock = Clock()
    with client_of(service, clock, on_unavailable="allow", max_retries=3) as ledger:
        ledger._sender._pause = lambda seconds: None
        service.fail(AWAY, times=8)
        for _ in range(20):
            ledger.reserve(user="ada", **CALL)
        assert len(service.requests) == 4, "the first one found out"
        clock.now += PROBE_SECONDS
        for _ in range(20):
            ledger.reserve(user="ada", **CALL)
        assert len(service.requests) == 8
        clock.now += PROBE_SECONDS
        assert not ledger.reserve(user="ada", **CALL).is_unasked
        assert not ledger.reserve(user="ada", **CALL).is_unasked


def test_what_was_not_sent_or_is_not_settled_ends_as_a_hold_does(service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable="allow") as ledger:
        service.fail(AWAY)
        with pytest.raises(httpx2.ConnectError), ledger.reserve(user="ada", **CALL) as hold:
            raise httpx2.ConnectError("the provider")
        assert hold.reservation.state == "released"
        with pytest.raises(LedgerError, match="has ended"):
            hold.settle(USED)
        with pytest.raises(TimeoutError), ledger.reserve(user="ada", **CALL):
            raise TimeoutError
        ledger.flush()
    (call,) = service.calls
    assert (call.usage, call.estimated) == (MOST, True)


def test_a_mistyped_call_is_refused_also_while_the_service_is_away(service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable="allow") as ledger:
        service.fail(AWAY)
        ledger.reserve(user="ada", **CALL)
        with pytest.raises(TypeError, match="max_tokens"):
            ledger.reserve(user="ada", **CALL, max_tokens=5)


def test_leases_that_are_not_to_be_had_are_done_without(service: FakeService) -> None:
    with (
        client_of(service, Clock(), on_unavailable="allow") as ledger,
        ledger.lease(user="ada", calls=5, **CALL) as leases,
    ):
        service.fail(AWAY)
        call = leases.reserve()
        assert isinstance(call, Hold)
        assert call.is_unasked
        call.settle(USED)
        ledger.flush()
        assert [each.usage for each in service.calls] == [USED]


async def test_the_asynchronous_client_does_the_same(service: FakeService) -> None:
    ledger: AsyncTokenLedger = service.async_client(spool=False, on_unavailable="allow")
    async with ledger:
        service.fail(AWAY)
        async with await ledger.reserve(user="ada", **CALL) as hold:
            assert hold.is_unasked
            await hold.settle(USED)
        await ledger.flush()
    assert [(each.usage, each.tags["admission"]) for each in service.calls] == [(USED, "unasked")]


@pytest.mark.parametrize("wrong", ["Deny", None, True, 500])
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="on_unavailable is"):
        FakeService().client(spool=False, on_unavailable=wrong)


def test_a_limit_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens is -1"):
        allow_up_to(tokens=-1)


def test_calls_go_on_up_to_a_cost_that_the_service_has_told(service: FakeService) -> None:
    """A call of this size may cost 900 tokens at 1 dollar and 100 at 4 dollars a million: 0.0013 dollars."""
    clock = Clock()
    with client_of(service, clock, on_unavailable=allow_up_to(cost="0.0026")) as ledger:
        assert str(ledger.reserve(user="ada", **CALL).release().held.cost) == "0.001300000"
        service.fail(AWAY, times=10_000)
        for size in (900, 899):
            ledger.reserve(user="ada", **{**CALL, "input_tokens": size}).settle(Usage(size, 40))
        with pytest.raises(Unreachable, match="gave no answer a moment ago"):
            ledger.reserve(user="ada", **CALL)
        service._failures.clear()
        clock.now += PROBE_SECONDS
        assert not ledger.reserve(user="ada", **CALL).is_unasked
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **CALL).is_unasked, "the count begins anew"
        service._failures.clear()


@pytest.mark.parametrize(
    "said", [{"input_tokens": 901}, {"max_output_tokens": 101}, {"model": "other"}, {"service_tier": "flex"},
             {"cache_write": "5m"}, {"max_usage": {"web_searches": 1}}],
)  # fmt: skip
def test_a_call_whose_cost_is_not_known_is_denied_with_what_to_do(said: dict[str, Any], service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable=allow_up_to(tokens=10**9, cost=10**6)) as ledger:
        ledger.reserve(user="ada", **CALL).release()
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **CALL).is_unasked
        with pytest.raises(
            Unreachable, match=r"is not known here.*make one that is as large.*or give allow_up_to\(tokens"
        ):
            ledger.reserve(user="ada", **{**CALL, **said})
        service._failures.clear()


def test_the_rates_of_a_lease_tell_what_calls_of_every_size_cost(service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable=allow_up_to(cost="0.0131")) as ledger:
        with ledger.lease(user="ada", calls=2, **CALL) as leases:
            leases.reserve().release()
        service.fail(AWAY, times=10_000)
        large = {**CALL, "input_tokens": 9_000, "max_output_tokens": 1_000}
        assert ledger.reserve(user="ada", **large).is_unasked
        with pytest.raises(Unreachable):
            ledger.reserve(user="ada", **{**CALL, "input_tokens": 101, "max_output_tokens": 0})
        assert ledger.reserve(user="ada", **{**CALL, "input_tokens": 100, "max_output_tokens": 0}).is_unasked
        service._failures.clear()


def _twice_as_dear(service: FakeService) -> None:
    service.price("p", "m", ModelPrice(input=Decimal(2), output=Decimal(8)))


def test_rates_that_a_later_hold_contradicts_count_no_more(service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable=allow_up_to(cost="0.0026")) as ledger:
        with ledger.lease(user="ada", calls=2, **CALL) as leases:
            leases.reserve().release()
        _twice_as_dear(service)
        assert str(ledger.reserve(user="ada", **CALL).release().held.cost) == "0.002600000"
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **CALL).is_unasked
        with pytest.raises(Unreachable):
            ledger.reserve(user="ada", **CALL)
        service._failures.clear()


def test_rates_that_a_later_hold_confirms_count_for_smaller_calls(service: FakeService) -> None:
    with client_of(service, Clock(), on_unavailable=allow_up_to(cost="0.0001")) as ledger:
        service.price("p", "m", ModelPrice(input=Decimal(1), output=Decimal(4), cache_read=Decimal("0.1")))
        with ledger.lease(user="ada", calls=2, **CALL) as leases:
            leases.reserve().release()
        ledger.reserve(user="ada", **{**CALL, "cached_input_tokens": 300}).release()
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **{**CALL, "input_tokens": 100, "max_output_tokens": 0}).is_unasked
        service._failures.clear()


def test_of_holds_that_were_as_large_the_newest_counts(service: FakeService) -> None:
    smaller = {**CALL, "max_output_tokens": 50}
    with client_of(service, Clock(), on_unavailable=allow_up_to(cost="0.0026")) as ledger:
        ledger.reserve(user="ada", **CALL).release()
        _twice_as_dear(service)
        assert str(ledger.reserve(user="ada", **smaller).release().held.cost) == "0.002200000"
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **smaller).is_unasked
        with pytest.raises(Unreachable):
            ledger.reserve(user="ada", **smaller)
        service._failures.clear()


@pytest.mark.parametrize("is_leased", [False, True])
def test_the_models_that_were_told_of_last_are_known(
    is_leased: bool, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_costs, "_MOST_MODELS", 2)
    with client_of(service, Clock(), on_unavailable=allow_up_to(cost=1)) as ledger:
        for model in ("m", "other", "m", "third"):
            call = {**CALL, "model": model}
            if is_leased:
                with ledger.lease(user="ada", calls=2, **call) as leases:
                    leases.reserve().release()
            else:
                ledger.reserve(user="ada", **call).release()
        service.fail(AWAY, times=10_000)
        assert ledger.reserve(user="ada", **CALL).is_unasked
        with pytest.raises(Unreachable, match="is not known here"):
            ledger.reserve(user="ada", **{**CALL, "model": "other"})
        service._failures.clear()


@pytest.mark.parametrize(
    ("limits", "error", "said"),
    [({}, ValueError, "give tokens=…, cost=… or both"), ({"cost": -1}, ValueError, "give 0 or more dollars"),
     ({"cost": 0.1}, TypeError, 'give Decimal\\("0.1"\\)'), ({"cost": "0.0000000001"}, ValueError, "at most 9 digits"),
     ({"cost": "NaN"}, ValueError, "is no amount of money")],
)  # fmt: skip
def test_a_policy_has_exact_limits(limits: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        allow_up_to(**limits)
