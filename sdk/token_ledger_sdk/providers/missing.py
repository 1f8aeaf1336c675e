"""Says why there is no usage in a response, and which class or call to use instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import UsageMissing
from .bodies import either, member, text
from .stream_events import is_chat_chunk, stream_class_of

_READ = (
    "Read are responses of OpenAI and of those who copy its format (`usage` with prompt_tokens or input_tokens),"
    " Anthropic, Gemini (`usageMetadata`), Bedrock Converse, Cohere and LangChain (`usage_metadata`); for anything else"
    " give Usage(input_tokens=..., output_tokens=...)"
)


def usage_missing(response: object) -> UsageMissing:
    """Build the error for a response without a usage that can be read."""
    for advise in _ADVICE:
        advice = advise(response)
        if advice is not None:
            return UsageMissing(advice)
    return UsageMissing(f"no usage that is known in this {type(response).__name__}. {_READ}")


def _of_error(response: object) -> str | None:
    failed = text(member(response, "result"), "type") in ("errored", "canceled", "expired")
    of_batch = member(member(response, "response"), "body")
    if member(response, "error") is None and member(of_batch, "error") is None and not failed:
        return None
    return (
        "the response is an error of the provider and carries no usage: call release() if nothing was generated, else"
        " settle_estimate()"
    )


def _of_text(response: object) -> str | None:
    if isinstance(response, str | bytes | bytearray):
        return "this is text: give the parsed body, json.loads(...); of a stream, give every event to AnyStreamUsage"
    return None


def _of_list(response: object) -> str | None:
    if isinstance(response, list | tuple):
        return (
            "this is a list: settle each response by itself, or, if these are the chunks of one stream, give every one"
            " to AnyStreamUsage and settle with that"
        )
    return None


def _of_event(response: object) -> str | None:
    name = stream_class_of(response)
    if name is None:
        return None
    asked = ", and open the stream with stream_options={'include_usage': True}" if is_chat_chunk(response) else ""
    return (
        f"this is one event of a stream, whose figures are not final: give every event to {name} (or wrap the stream"
        f" with its watch()) and settle with that{asked}"
    )


def _of_stream(response: object) -> str | None:
    if isinstance(response, Mapping):
        events = response.get("stream")
        if isinstance(events, str) or not hasattr(events, "__iter__"):
            return None
        return (
            "this is a stream of Bedrock: iterate over BedrockStreamUsage().watch(response['stream']), then settle it"
        )
    if not any(hasattr(response, name) for name in ("__next__", "__anext__", "__aiter__")):
        return None
    module = type(response).__module__.partition(".")[0]
    name = {"anthropic": "AnthropicStreamUsage", "openai": "OpenAIStreamUsage"}.get(module, "AnyStreamUsage")
    asked = " opened with stream_options={'include_usage': True}" if name == "OpenAIStreamUsage" else ""
    return f"this is a stream: iterate over {name}().watch(stream){asked}, then settle with that {name}"


def _of_http(response: object) -> str | None:
    if callable(member(response, "parse")):
        return "this is a raw response of the provider's SDK: give response.parse()"
    if callable(member(response, "json")) and member(response, "status_code") is not None:
        return "this is an HTTP response: give its parsed body, response.json()"
    if callable(member(member(response, "body"), "read")):
        return "this is a response of Bedrock's InvokeModel: give its parsed body, json.loads(response['body'].read())"
    return None


def _of_gemini(response: object) -> str | None:
    usage = either(response, "usageMetadata", "usage_metadata")
    if either(usage, "totalTokenCount", "total_token_count") is None:
        return None
    return (
        "this usageMetadata has only a total: that is content put into Gemini's cache, not a call. If it is a chunk of"
        " a stream, give every chunk to GeminiStreamUsage; else give Usage(input_tokens=..., output_tokens=...)"
    )


def _of_langchain(response: object) -> str | None:
    if member(response, "response_metadata") is None:
        return None
    return (
        "this LangChain message has no usage_metadata: create the chat model with stream_usage=True, and of a stream"
        " settle the sum of all chunks"
    )


_ADVICE: tuple[Callable[[object], str | None], ...] = (
    _of_error, _of_text, _of_list, _of_event, _of_stream, _of_http, _of_gemini, _of_langchain,
)  # fmt: skip
