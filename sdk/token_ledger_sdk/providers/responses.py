"""Reads any response, whichever supported provider sent it: its usage, its model, its service tier, its id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .anthropic import read_anthropic
from .bedrock import read_bedrock
from .bodies import member, text
from .cohere import read_cohere
from .gemini import read_gemini
from .langchain import read_langchain
from .missing import usage_missing
from .openai import read_openai
from .openai_responses import LAST_EVENTS, read_responses
from .pieces import read_pieces
from .reading import Reading, valid_id
from .streams import StreamUsage
from .usage import Usage

_READERS: tuple[Callable[[object], Reading | None], ...] = (
    read_openai, read_langchain, read_anthropic, read_responses, read_gemini, read_bedrock, read_cohere, read_pieces,
)  # fmt: skip
"""Each returns None for a response that is not in its format; LangChain and Anthropic know theirs from OpenAI's."""


def reading_of(response: object) -> Reading:
    """Read what a response says about its call, in any format that is known.

    Accepts a response, or only its usage part, as an SDK object or a dict; one result of a batch; the last event of a
    Responses or Realtime stream; a `StreamUsage`; a `Usage` or `Reading`. Raises UsageMissing if it has no usage, or
    one in a format that is not known.
    """
    if isinstance(response, Reading):
        return response
    if isinstance(response, Usage):
        return Reading(response)
    if isinstance(response, StreamUsage):
        return response.reading()
    body, is_batch = _body(response)
    for read in _READERS:
        reading = read(body)
        if reading is not None:
            return replace(reading, service_tier="batch") if is_batch else reading
    raise usage_missing(response)


def usage_from(response: object) -> Usage:
    """Read the usage of a response, of the call's own model; accepts and raises what `reading_of` does."""
    return response if isinstance(response, Usage) else reading_of(response).usage


def response_id_of(response: object) -> str | None:
    """Return the provider's id of a response, or of a stream; None unless it is 1 to 200 printable characters."""
    return valid_id(response.response_id if isinstance(response, StreamUsage) else member(response, "id"))


def _body(response: object) -> tuple[object, bool]:
    """Return the response inside what some APIs wrap it in, and whether it is a result of a batch."""
    message = member(member(response, "result"), "message")
    if message is not None:
        return message, True  # a line of Anthropic's batch results
    inner = member(response, "response")
    if inner is None:
        return response, False
    body = member(inner, "body")
    if body is not None:
        return body, True  # a line of OpenAI's batch output, and of Mistral's
    kind = text(response, "type")
    if kind is None:
        # A line of Gemini's batch output has a key; without one it is only wrapped.
        return inner, member(response, "key") is not None
    return (inner if kind in LAST_EVENTS else response), False
