"""What calls of any library look like that draw from leases by themselves."""

from __future__ import annotations

from typing import Any

from token_ledger_sdk.testing import FakeService

from .provider import Provider
from .test_openai_streams import chat_stream

CALLS = 5


def answers(provider: Provider, *bodies: dict[str, Any]) -> None:
    """Let the provider answer each call with an id of its own."""
    for number in range(CALLS):
        for body in bodies:
            own = {name: f"{value}-{number}" for name, value in body.items() if name in ("id", "responseId")}
            provider.json({**body, **own})


def streams(provider: Provider) -> None:
    """Let the provider answer each call with a stream of chat completions that has an id of its own."""
    for number in range(CALLS):
        provider.stream(chat_stream("Lon", "don").replace("chatcmpl-9", f"chatcmpl-{number}"))


def check_leased(service: FakeService, output_tokens: int = 7) -> None:
    """Check that the first call has had a hold of its own and the others have drawn from leases, and all is booked."""
    kinds = [hold.calls is not None for hold in service.holds]
    assert kinds == [False, *[True] * (len(kinds) - 1)]
    assert 1 < len(kinds) < CALLS
    assert {hold.state for hold in service.holds} == {"settled", "released"}
    assert [call.usage.output_tokens for call in service.calls] == [output_tokens] * CALLS
    assert not any(call.estimated for call in service.calls)
    assert all(call.measured.get("latency_ms") is not None for call in service.calls)
