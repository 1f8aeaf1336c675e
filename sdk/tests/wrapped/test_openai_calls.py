"""A wrapped client of the openai library against a provider's wire format: what is sent, held and booked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from token_ledger_sdk import BudgetExceeded, TokenLedger

from .conftest import GrantingLedger
from .provider import Provider

Recorded = Callable[[str], str]
MESSAGES: list[Any] = [{"role": "user", "content": "What is the capital of the UK?"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "get_capital", "parameters": {"type": "object", "properties": {"of": {"type": "string"}}}},
}


class City(BaseModel):
    name: str


def chat_body(content: str = "Paris", finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4-2026-03-05",
        "choices": [{"index": 0, "finish_reason": finish_reason,
                     "message": {"role": "assistant", "content": content, **message}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27},
    }  # fmt: skip


def test_a_call_is_held_and_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    answer = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300)
    assert answer.choices[0].message.content == "Paris"
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "openai")
    assert (reserved["model"], reserved["max_output_tokens"]) == ("gpt-5.4", 300)
    assert 12 <= reserved["input_tokens"] <= 16
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["model"]) == ("chatcmpl-1", "gpt-5.4-2026-03-05")
    assert (settled["measured"]["finish_reason"], "estimated" in settled) == ("stop", False)
    assert settled["measured"]["latency_ms"] >= 0


def test_the_type_stays(client: OpenAI, bare: OpenAI) -> None:
    assert isinstance(client, OpenAI)
    assert type(client).__name__ == "OpenAI"
    assert client is not bare
    assert type(bare) is OpenAI


@pytest.mark.parametrize("number", ["153", "251"])
def test_recorded_answers_are_booked(
    number: str, client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    body = json.loads(recorded(number))
    provider.json(recorded(number))
    if number == "153":
        client.chat.completions.create(model=body["model"], messages=MESSAGES)
        expected = body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]
    else:
        client.responses.create(model=body["model"], input="Think.")
        expected = body["usage"]["input_tokens"], body["usage"]["output_tokens"]
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == expected


def test_embeddings_hold_no_output(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(
        {
            "object": "list", "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }
    )  # fmt: skip
    client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"], encoding_format="float")
    assert (granting.reserved["max_output_tokens"], granting.reserved["request_type"]) == (0, "embedding")
    assert granting.reserved["input_tokens"] == 3
    assert granting.settled["usage"]["input_tokens"] == 5
    assert "max_tokens" not in provider.asked[0].body


def test_what_the_request_requires(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
    client.chat.completions.create(
        model="gpt-5.4",
        messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}],  # type: ignore[list-item]
        tools=[TOOL],
        response_format={"type": "json_object"},
    )
    assert granting.reserved["requires"] == ["tools", "structured_output", "vision"]
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=128_000)
    assert granting.reserved["requires"] == ["long_context"]


def test_a_tool_call_is_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_capital", "arguments": '{"of": "UK"}'}}
    provider.json(chat_body("", "tool_calls", tool_calls=[call]))
    answer = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, tools=[TOOL])
    assert answer.choices[0].message.tool_calls is not None
    assert granting.settled["measured"]["finish_reason"] == "tool_calls"


def test_a_parsed_answer_is_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body('{"name": "Paris"}'))
    answer = client.chat.completions.parse(model="gpt-5.4", messages=MESSAGES, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris")
    assert granting.reserved["requires"][0] == "structured_output"
    assert granting.settled["usage"]["output_tokens"] == 7


def test_an_answer_that_can_not_be_parsed_is_booked(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body('{"na', "length"))
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="gpt-5.4", messages=MESSAGES, response_format=City)
    assert granting.settled["usage"]["output_tokens"] == 7


def test_raw_and_streaming_responses_are_booked(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    raw = client.chat.completions.with_raw_response.create(model="gpt-5.4", messages=MESSAGES)
    assert raw.parse().choices[0].message.content == "Paris"
    with client.chat.completions.with_streaming_response.create(model="gpt-5.4", messages=MESSAGES) as streamed:
        assert streamed.parse().choices[0].message.content == "Paris"
    assert [each["usage"]["output_tokens"] for each in granting.sent("/settle")] == [7, 7]


def test_a_streaming_response_that_is_not_read_is_an_estimate(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    with client.chat.completions.with_streaming_response.create(
        model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300
    ):
        pass
    assert granting.settled["estimated"]
    assert granting.settled["usage"]["output_tokens"] == 300
    assert granting.settled["measured"]["estimate_rule"] == "input counted, output limit"


def test_an_answer_without_figures_is_counted(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    body = chat_body("It is Paris")
    del body["usage"]
    provider.json(body)
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], settled["estimated"], settled["outcome"]) == (3, True, "ok")
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


@pytest.mark.parametrize("words", ["", "It is Paris"])
def test_an_answer_that_says_that_it_failed_is_an_estimate_of_what_came(
    words: str, client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    body = json.loads(recorded("251"))
    written = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": words}]}]
    error = {"code": "server_error", "message": "The model failed."}
    body |= {"status": "failed", "error": error, "usage": None, "output": written if words else []}
    provider.json(body)
    assert client.responses.create(model="gpt-5-nano", input="Which city?", max_output_tokens=300).status == "failed"
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], settled["estimated"]) == (3 if words else 0, True)
    assert (settled["outcome"], settled["measured"]["error_kind"]) == ("error", "error_answer")


def test_an_error_of_a_gateway_with_a_good_status_is_one(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "Provider returned error", "code": 502}})
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300)
    assert (granting.settled["usage"]["output_tokens"], granting.settled["outcome"]) == (0, "error")


def test_an_answer_that_is_no_json_is_the_limit(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json("<html>")
    with pytest.raises(json.JSONDecodeError):
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300)
    assert granting.settled["usage"]["output_tokens"] == 300


def test_copies_are_guarded(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    client.with_options(timeout=60).chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    client.copy(max_retries=1).chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert len(granting.sent("/settle")) == 2


def test_resources_made_before_are_not_shared(
    bare: OpenAI, ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    bare.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    client = ledger.wrap(bare, user="ada", agent_type="data_agent")
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    bare.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert len(granting.sent("/settle")) == 1


def test_other_requests_pass(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"id": "modr-1", "model": "omni", "results": []})
    client.moderations.create(input="x")
    assert granting.requests == []


# --- byte for byte ---


CALLS: dict[str, Callable[[OpenAI], object]] = {
    "chat": lambda client: client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, temperature=0.5, extra_body={"own": [1]}, extra_headers={"X-Own": "1"}
    ),
    "chat with a limit": lambda client: client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, max_tokens=9, tools=[TOOL]
    ),
    "parse": lambda client: client.chat.completions.parse(model="gpt-5.4", messages=MESSAGES, response_format=City),
    "responses": lambda client: client.responses.create(model="gpt-5.4", input="Grüße", store=False),
    "raw": lambda client: client.chat.completions.with_raw_response.create(model="gpt-5.4", messages=MESSAGES),
    "stream with usage": lambda client: client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ).close(),
    "responses stream": lambda client: client.responses.create(model="gpt-5.4", input="x", stream=True).close(),
    "embeddings": lambda client: client.embeddings.create(model="text-embedding-3-small", input="x"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_is_sent_is_the_same_to_the_byte(
    name: str, bare: OpenAI, client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body('{"name": "Paris"}') | {"data": [{"embedding": "AAAAAA=="}], "output": []})
    CALLS[name](bare)
    CALLS[name](client)
    plain, guarded = provider.asked
    assert guarded.content == plain.content
    assert (guarded.path, guarded.headers) == (plain.path, plain.headers)
    assert len(granting.sent("/reservations")) == 1


# --- the output limit and directives ---


def test_the_models_limit_is_held_and_not_sent(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, n=2)
    assert granting.reserved["max_output_tokens"] == 256_000
    assert "max_completion_tokens" not in provider.asked[0].body


def test_what_fits_is_held_and_sent(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 1_001
    provider.json(chat_body())
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, n=2)
    client.responses.create(model="gpt-5.4", input="x")
    assert [each["max_output_tokens"] for each in granting.sent("/reservations")] == [256_000, 1_000, 128_000, 1_001]
    assert provider.asked[0].body["max_completion_tokens"] == 500
    assert provider.asked[1].body["max_output_tokens"] == 1_001


def test_a_gateway_is_sent_the_older_name(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 64
    provider.json(chat_body())
    client = ledger.wrap(bare, user="ada", agent_type="a", provider="groq")
    client.chat.completions.create(model="llama", messages=MESSAGES)
    assert provider.asked[0].body["max_tokens"] == 64
    assert granting.reserved["provider"] == "groq"


def test_an_unknown_limit_is_ours_and_sent(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.model_limit = None
    provider.json(chat_body())
    client.chat.completions.create(model="house/own", messages=MESSAGES)
    assert (granting.reserved["max_output_tokens"], provider.asked[0].body["max_completion_tokens"]) == (4_096, 4_096)
    client.chat.completions.create(model="openai/gpt-4o-mini", messages=MESSAGES)
    assert granting.reserved["max_output_tokens"] == 16_384  # as it is published
    assert "max_completion_tokens" not in provider.asked[1].body


def test_no_more_than_the_context_is_held(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.model_limit = 400_000
    provider.json(chat_body())
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert granting.reserved["max_output_tokens"] == 400_000 - granting.reserved["input_tokens"]
    assert "max_completion_tokens" not in provider.asked[0].body


def test_switched_off_it_is_denied(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 1_000
    client = ledger.wrap(bare, user="ada", agent_type="a", limit_output=False)
    with pytest.raises(BudgetExceeded) as denied:
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 1_000
    assert provider.asked == []


@pytest.mark.parametrize("most", [0, 15])
def test_too_little_is_a_denial(most: int, client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = most
    with pytest.raises(BudgetExceeded):
        client.responses.create(model="gpt-5.4", input="x")  # takes no limit below 16
    assert provider.asked == []


def test_a_limit_of_the_callers_own_is_never_cut(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 100
    with pytest.raises(BudgetExceeded):
        client.with_options(max_retries=5).chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, max_completion_tokens=200
        )
    assert len(granting.sent("/reservations")) == 1
    assert provider.asked == []


def test_a_stand_in_is_called(ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    granting.stand_in = "gpt-5.4-mini"
    provider.json(chat_body())
    client = ledger.wrap(bare, user="ada", agent_type="a", apply=["model_downgrade"])
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=50)
    assert granting.reserved["apply"] == ["model_downgrade"]
    assert provider.asked[0].body == {"model": "gpt-5.4-mini", "messages": MESSAGES, "max_completion_tokens": 50}


def test_what_is_given_as_extra_body_is_changed_there(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 100
    provider.json(chat_body())
    client.chat.completions.create(
        model="gpt-5.4", messages=MESSAGES, extra_body={"max_completion_tokens": None, "own": 1}
    )
    assert (provider.asked[0].body["max_completion_tokens"], provider.asked[0].body["own"]) == (100, 1)


def test_a_deployment_of_azure_is_called(ledger: TokenLedger, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    address = provider.url.removesuffix("/v1")
    with AzureOpenAI(azure_endpoint=address, api_key="k", api_version="2026-01-01", max_retries=0) as bare:
        client = ledger.wrap(bare, user="ada", agent_type="a", apply=["model_downgrade"])
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
        granting.stand_in = "gpt-5.4-mini"
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    paths = [each.path.partition("?")[0] for each in provider.asked]
    assert paths == [f"/openai/deployments/{model}/chat/completions" for model in ("gpt-5.4", "gpt-5.4-mini")]
    assert granting.reserved["provider"] == "azure"


def test_old_completions_are_held_for_each_prompt(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    choice = {"index": 0, "finish_reason": "length", "text": "one", "logprobs": None}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    provider.json({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice],
                   "usage": usage})  # fmt: skip
    client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"])
    assert (granting.reserved["input_tokens"], granting.reserved["max_output_tokens"]) == (2, 32)
    assert granting.settled["usage"]["output_tokens"] == 3


def test_a_parsed_response_is_booked(
    client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    body = json.loads(recorded("251"))
    (message,) = (item for item in body["output"] if item["type"] == "message")
    message["content"][0]["text"] = '{"name": "Paris"}'
    provider.json(body)
    answer = client.responses.parse(model="gpt-5-nano", input="Which city?", text_format=City)
    assert answer.output_parsed == City(name="Paris")
    assert granting.reserved["requires"][0] == "structured_output"
    assert granting.settled["usage"]["output_tokens"] == body["usage"]["output_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_earlier_response_is_part_of_the_input(
    stream: bool, client: OpenAI, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    if stream:
        provider.stream(recorded("284"))
        (first,) = [
            event.response
            for event in client.responses.create(model="gpt-4.1", input="x", stream=True)
            if event.type == "response.completed"
        ]
    else:
        provider.json(recorded("251"))
        first = client.responses.create(model="gpt-4.1", input="x")
    alone = granting.reserved["input_tokens"]
    provider.replies.clear()
    provider.json(recorded("251"))
    client.with_options(timeout=90).responses.create(model="gpt-4.1", input="x", previous_response_id=first.id)
    assert first.usage is not None
    assert granting.reserved["input_tokens"] == alone + first.usage.total_tokens
    client.responses.create(model="gpt-4.1", input="x", previous_response_id="resp_of_another_process")
    assert granting.reserved["input_tokens"] == alone


def test_searches_that_are_announced_are_held(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"id": "resp_1", "object": "response", "status": "completed", "output": []})
    client.responses.create(
        model="gpt-5.4", input="x", tools=[{"type": "web_search"}], max_tool_calls=3, service_tier="flex"
    )
    assert (granting.reserved["max_usage"], granting.reserved["service_tier"]) == ({"web_searches": 3}, "flex")
    assert granting.reserved["input_tokens"] > 10_000


def test_the_limits_of_models_are_asked_for_once(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    for _ in range(3):
        ledger.wrap(bare, user="ada", agent_type="a").chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert granting.models_asked == 1


# --- whose call it is ---


def test_contexts_nest(ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    client = ledger.wrap(bare, agent_type="chat", tags={"app": "web"})

    def call() -> dict[str, Any]:
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
        return granting.reserved

    with ledger.context(user="ada", cost_center="r-and-d", tags={"team": "a"}):
        outer = call()
        with ledger.context(agent_type="data_agent", tags={"team": "b"}):
            inner = call()
        with ledger.context(run="11"):
            in_run = call()
        with ledger.context(user="bob"):
            other = call()
    assert (outer["user"], outer["agent_type"], outer["cost_center"]) == ("ada", "chat", "r-and-d")
    assert outer["tags"] == {"app": "web", "team": "a"}
    assert (inner["user"], inner["agent_type"], inner["tags"]) == ("ada", "data_agent", {"app": "web", "team": "b"})
    assert (in_run["run_id"], "user" in in_run, "cost_center" in in_run) == ("11", False, False)
    assert (other["user"], "cost_center" in other) == ("bob", False)


def test_threads_have_contexts_of_their_own(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    client = ledger.wrap(bare, agent_type="chat")
    both_are_there = threading.Barrier(2)

    def ask(user: str) -> None:
        with ledger.context(user=user):
            both_are_there.wait(60)
            for _ in range(5):
                client.chat.completions.create(
                    model="gpt-5.4", messages=[{"role": "user", "content": user}], max_completion_tokens=10
                )

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(ask, ("ada", "bob"))] == [None, None]
    assert sorted(each["user"] for each in granting.sent("/reservations")) == ["ada"] * 5 + ["bob"] * 5


def test_a_call_of_nobody_is_not_sent(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    for said, missing in (({"agent_type": "a"}, "user"), ({"user": "ada"}, "agent type")):
        client = ledger.wrap(bare, **said)  # type: ignore[arg-type]
        with pytest.raises(Exception, match=f"no {missing}"):
            client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_tokens=5)
    assert (provider.asked, granting.sent("/reservations")) == ([], [])


def test_a_client_of_a_run_stays_with_it(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    with ledger.run(user="ada") as run:
        client = run.wrap(bare, agent_type="data_agent")
        with ledger.context(user="bob"):
            client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert granting.reserved["run_id"] == "11"
    assert "user" not in granting.reserved


def test_what_can_not_be_wrapped_is_said(ledger: TokenLedger) -> None:
    with pytest.raises(TypeError, match=r"can't be wrapped here: give one of openai\.OpenAI"):
        ledger.wrap(AsyncOpenAI(api_key="x"), user="ada")
    with pytest.raises(TypeError, match="unknown argument 'agent'"):
        ledger.wrap(OpenAI(api_key="x"), agent="a")  # type: ignore[call-arg]
