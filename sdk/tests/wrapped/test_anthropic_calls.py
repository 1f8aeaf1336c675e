"""A wrapped client of the anthropic library against a provider's wire format: what is sent, held and booked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel

from token_ledger_sdk import BudgetExceeded, TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider, Reply

Recorded = Callable[[str], str]
MODEL = "claude-sonnet-4-6"
MESSAGES: list[Any] = [{"role": "user", "content": "What is the capital of the UK?"}]
TOOL: Any = {
    "name": "get_capital",
    "description": "Say the capital of a country.",
    "input_schema": {"type": "object", "properties": {"of": {"type": "string"}}},
}
IMAGE: Any = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}

OWN = {"X-Own": "1"}


class City(BaseModel):
    name: str


def message(words: str = "Paris", stop_reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": stop_reason,
        "stop_sequence": None, "content": [{"type": "text", "text": words}],
        "usage": {"input_tokens": 20, "output_tokens": 7}, **more,
    }  # fmt: skip


@pytest.fixture
def client(bare_anthropic: Anthropic, ledger: TokenLedger) -> Anthropic:
    """The client with one changed line."""
    return ledger.wrap(bare_anthropic, user="ada", agent_type="data_agent")


def test_a_call_is_held_and_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    answer = client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=300, system="Be brief.")
    assert answer.content[0].text == "Paris"  # type: ignore[union-attr]
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "anthropic")
    assert (reserved["model"], reserved["max_output_tokens"]) == (MODEL, 300)
    assert 15 <= reserved["input_tokens"] <= 30
    assert not {"requires", "cache_write", "service_tier", "max_usage"} & reserved.keys()
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["measured"]["finish_reason"]) == ("msg_1", "end_turn")
    assert ("estimated" in settled, settled["measured"]["latency_ms"] >= 0) == (False, True)


def test_the_type_stays(client: Anthropic, bare_anthropic: Anthropic) -> None:
    assert isinstance(client, Anthropic)
    assert type(client).__name__ == "Anthropic"
    assert type(bare_anthropic) is Anthropic


@pytest.mark.parametrize(("number", "expected"), [("001", (19, 22)), ("004", (7_361, 4)), ("020", (11_470, 44))])
def test_recorded_answers_are_booked(
    number: str,
    expected: tuple[int, int],
    client: Anthropic,
    provider: Provider,
    granting: GrantingLedger,
    recorded: Recorded,
) -> None:
    provider.json(recorded(number))
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=500)
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == expected


def test_what_the_request_requires(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    result: Any = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}
    client.messages.create(
        model=MODEL,
        messages=[*MESSAGES, {"role": "user", "content": [result]}],
        max_tokens=9,
        tools=[TOOL],
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    assert granting.reserved["requires"] == ["tools", "structured_output", "vision"]
    document: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    client.messages.create(model=MODEL, messages=[{"role": "user", "content": [document]}], max_tokens=9)
    assert "requires" not in granting.reserved
    with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=128_000):
        pass
    assert granting.reserved["requires"] == ["long_context"]


def test_what_else_decides_about_the_price_is_held(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    search: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    client.beta.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9, tools=[search], speed="fast")
    assert (granting.reserved["max_usage"], granting.reserved["service_tier"]) == ({"web_searches": 3}, "fast")
    marked: Any = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9, system=[marked])
    assert granting.reserved["cache_write"] == "5m"
    longer: Any = {**TOOL, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9, system=[marked], tools=[longer])
    assert granting.reserved["cache_write"] == "1h"


def test_a_tool_call_is_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_capital", "input": {"of": "UK"}}
    provider.json(message(stop_reason="tool_use", content=[call]))
    answer = client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=300, tools=[TOOL])
    assert answer.content[0].type == "tool_use"
    assert granting.settled["measured"]["finish_reason"] == "tool_use"
    alone = granting.reserved["input_tokens"]
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "London"}
    more: list[Any] = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    client.messages.create(model=MODEL, messages=[*MESSAGES, *more], max_tokens=300, tools=[TOOL])
    assert alone < granting.reserved["input_tokens"] < alone + 60


def test_calls_of_the_tool_runner_are_calls_of_their_own(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    @beta_tool
    def get_capital(of: str) -> str:
        """Say the capital of a country.

        Args:
            of: The country.
        """
        return {"UK": "London"}[of]

    call = {"type": "tool_use", "id": "toolu_1", "name": "get_capital", "input": {"of": "UK"}}
    provider.json(message(stop_reason="tool_use", content=[call]))
    provider.json(message("London", id="msg_2"))
    runner = client.beta.messages.tool_runner(model=MODEL, messages=MESSAGES, max_tokens=300, tools=[get_capital])
    assert runner.until_done().id == "msg_2"
    assert [each["requires"] for each in granting.sent("/reservations")] == [["tools"]] * 2
    assert [each["response_id"] for each in granting.sent("/settle")] == ["msg_1", "msg_2"]


def test_a_parsed_answer_is_booked(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message('{"name": "Paris"}'))
    answer = client.messages.parse(model=MODEL, messages=MESSAGES, max_tokens=300, output_format=City)
    assert answer.parsed_output == City(name="Paris")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 7


def test_an_answer_that_can_not_be_parsed_is_booked(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message('{"na', "max_tokens"))
    with pytest.raises(ValueError, match="Invalid JSON"):
        client.messages.parse(model=MODEL, messages=MESSAGES, max_tokens=300, output_format=City)
    assert granting.settled["usage"]["output_tokens"] == 7


def test_raw_and_streaming_responses_are_booked(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    raw = client.messages.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=300)
    assert raw.parse().id == "msg_1"
    with client.messages.with_streaming_response.create(model=MODEL, messages=MESSAGES, max_tokens=300) as streamed:
        assert streamed.parse().id == "msg_1"
    assert [each["usage"]["output_tokens"] for each in granting.sent("/settle")] == [7, 7]


def test_a_streaming_response_that_is_not_read_is_an_estimate(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    with client.messages.with_streaming_response.create(model=MODEL, messages=MESSAGES, max_tokens=300):
        pass
    assert (granting.settled["estimated"], granting.settled["usage"]["output_tokens"]) == (True, 300)
    assert granting.settled["measured"]["estimate_rule"] == "input counted, output limit"


def test_an_answer_without_figures_is_counted(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    body = message("It is Paris")
    del body["usage"]
    provider.json(body)
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=300)
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], settled["estimated"], settled["outcome"]) == (3, True, "ok")
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


def test_copies_are_guarded(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    client.with_options(timeout=60).messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    client.copy(max_retries=1).messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    assert len(granting.sent("/settle")) == 2


def test_resources_made_before_are_not_shared(
    bare_anthropic: Anthropic, ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    for client in (bare_anthropic, ledger.wrap(bare_anthropic, user="ada", agent_type="a"), bare_anthropic):
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    assert len(granting.sent("/settle")) == 1


def test_other_requests_pass(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"input_tokens": 14, "data": [], "has_more": False})
    assert client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens == 14
    assert [*client.models.list()] == []
    assert granting.requests == []


# --- byte for byte ---


CALLS: dict[str, Callable[[Anthropic], object]] = {
    "plain": lambda client: client.messages.create(
        model=MODEL, messages=MESSAGES, max_tokens=9, stop_sequences=["."], extra_body={"own": 1}, extra_headers=OWN
    ),
    "text that is not ASCII": lambda client: client.messages.create(
        model=MODEL, messages=[{"role": "user", "content": "Grüße 🙂"}], max_tokens=9, system="Kurz."
    ),
    "messages that can be read once": lambda client: client.messages.create(
        model=MODEL, messages=(each for each in MESSAGES), max_tokens=9, tools=[TOOL]
    ),
    "parse": lambda client: client.messages.parse(model=MODEL, messages=MESSAGES, max_tokens=9, output_format=City),
    "beta": lambda client: client.beta.messages.create(
        model=MODEL, messages=MESSAGES, max_tokens=9, betas=["context-1m-2025-08-07"]
    ),
    "raw": lambda client: client.messages.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=9),
    "stream": lambda client: client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9, stream=True).close(),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_is_sent_is_the_same_to_the_byte(
    name: str, bare_anthropic: Anthropic, client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message('{"name": "Paris"}'))
    CALLS[name](bare_anthropic)
    CALLS[name](client)
    plain, guarded = provider.asked
    assert guarded.content == plain.content
    assert (guarded.path, guarded.headers) == (plain.path, plain.headers)
    assert len(granting.sent("/reservations")) == 1


# --- the output limit and directives ---


def test_a_limit_of_the_callers_own_is_never_cut(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 100
    with pytest.raises(BudgetExceeded) as denied:
        client.with_options(max_retries=5).messages.create(model=MODEL, messages=MESSAGES, max_tokens=200)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 100
    assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


def test_less_that_is_held_is_sent(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_granted = 100
    provider.json(message())
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=200)
    thinking: Any = {"type": "enabled", "budget_tokens": 1_024}
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=4_000, thinking=thinking)
    # Anthropic refuses a limit that is not above the budget of thoughts.
    assert [each.body["max_tokens"] for each in provider.asked] == [100, 1_025]


def test_a_stand_in_is_called(
    ledger: TokenLedger, bare_anthropic: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    granting.stand_in = "claude-haiku-4-5"
    provider.json(message())
    client = ledger.wrap(bare_anthropic, user="ada", agent_type="a", apply=["model_downgrade"])
    client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=50)
    assert granting.reserved["apply"] == ["model_downgrade"]
    assert provider.asked[0].body == {"model": "claude-haiku-4-5", "messages": MESSAGES, "max_tokens": 50}


def test_what_is_given_as_extra_body_is_read_and_changed(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    granting.stand_in = "claude-haiku-4-5"
    provider.json(message())
    client.messages.create(model="x", messages=MESSAGES, max_tokens=50, extra_body={"model": MODEL, "max_tokens": 60})
    assert (granting.reserved["model"], granting.reserved["max_output_tokens"]) == (MODEL, 60)
    assert (provider.asked[0].body["model"], provider.asked[0].body["max_tokens"]) == ("claude-haiku-4-5", 60)


# --- middleware of the caller's ---


def test_a_middleware_stays(
    provider: Provider, ledger: TokenLedger, bare_anthropic: Anthropic, granting: GrantingLedger
) -> None:
    seen = []

    def watching(request: Any, call_next: Any) -> Any:
        seen.append(request)
        return call_next(request)

    provider.json({"type": "error", "error": {"type": "rate_limit_error", "message": "no"}}, 429)
    provider.json(message())
    bare = bare_anthropic.with_options(max_retries=1, middleware=[watching])
    ledger.wrap(bare, user="ada", agent_type="a").messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    assert (len(seen), len(granting.sent("/reservations"))) == (2, 1)
    assert granting.settled["measured"]["retries"] == 1


def test_a_middleware_that_answers_itself_costs_nothing(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    kept = client.with_middleware(lambda request, call_next: message())  # type: ignore[arg-type, return-value]
    assert kept.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    assert (granting.released["reason"], provider.asked) == ("not sent", [])


def test_a_middleware_that_asks_again_makes_two_calls(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    def again(request: Any, call_next: Any) -> Any:
        call_next(request)
        return call_next(request.copy(body={**request.options.json_data, "model": "claude-haiku-4-5"}))

    provider.json(message())
    client.with_middleware(again).messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    assert [each["model"] for each in granting.sent("/reservations")] == [MODEL, "claude-haiku-4-5"]
    assert len(granting.sent("/settle")) == 2


# --- batches ---


def batch_line(custom_id: str, result: str, **more: Any) -> str:
    return json.dumps({"custom_id": custom_id, "result": {"type": result, **more}})


def test_results_of_a_batch_are_booked_when_they_are_read(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    results = f"{provider.root}/v1/messages/batches/msgbatch_1/results"
    batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended", "results_url": results}
    lines = [
        batch_line("a", "succeeded", message=message()),
        batch_line("b", "errored", error={"type": "error"}),
        batch_line("c", "succeeded", message=message("Rome", id="msg_2")),
    ]
    provider.json(batch)
    provider.replies.append(Reply(["\n".join(lines).encode()], content_type="application/x-jsonl"))
    assert [each.custom_id for each in client.messages.batches.results("msgbatch_1")] == ["a", "b", "c"]
    (report,) = granting.sent("/usage")
    first, second = report["events"]
    assert (first["user"], first["agent_type"], first["model"], first["service_tier"]) == (
        "ada", "data_agent", MODEL, "batch",
    )  # fmt: skip
    assert (first["usage"]["input_tokens"], first["usage"]["output_tokens"]) == (20, 7)
    assert (first["response_id"], second["response_id"]) == ("msg_1", "msg_2")
    assert granting.sent("/reservations") == []
    provider.replies = [Reply([json.dumps(batch).encode()]), provider.replies[-1]]
    [*client.messages.batches.results("msgbatch_1")]
    assert granting.sent("/usage")[1] == report  # with the same keys, so that nothing is booked twice


def test_results_of_nobodys_batch_are_not_fetched(
    ledger: TokenLedger, bare_anthropic: Anthropic, provider: Provider
) -> None:
    results = f"{provider.root}/v1/messages/batches/msgbatch_1/results"
    provider.json({"id": "msgbatch_1", "processing_status": "ended", "results_url": results})
    with pytest.raises(Exception, match="no user"):
        ledger.wrap(bare_anthropic, agent_type="a").messages.batches.results("msgbatch_1")
    assert len(provider.asked) == 1


def test_what_can_not_be_wrapped_is_said(ledger: TokenLedger) -> None:
    with pytest.raises(TypeError, match=r"can't be wrapped here: give one of openai\.OpenAI, anthropic\.Anthropic"):
        ledger.wrap(AsyncAnthropic(api_key=KEY), user="ada")


def test_a_thread_is_held_with_what_the_provider_keeps(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    client.beta.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9)
    alone = granting.reserved["input_tokens"]
    thread: Any = {"type": "continue", "previous_message_id": "msg_1"}
    client.with_options(timeout=90).beta.messages.create(model=MODEL, messages=MESSAGES, max_tokens=9, thread=thread)
    assert granting.reserved["input_tokens"] == alone + 27
