"""Reads a request of the google-genai library into what a guard asks, and says what is to be changed in it.

What the caller gives within contents and tools is sent with the names of Python (`mime_type`) or of JSON (`mimeType`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from ..guard.ask import AUDIO, STRUCTURED_OUTPUT, TOOLS, VISION, Ask
from ..providers.bodies import either, member, members, text
from ..providers.gemini import is_charged_per_prompt
from ..providers.reading import STANDARD, tier_named
from ..request_tokens import Count, count_tools
from .google_caches import KnownCaches

_ADDRESS = re.compile(
    r"(?P<begin>.*/(?P<kind>models|tunedModels|endpoints)/)(?P<model>[^/:?]+)(?P<end>:(?P<verb>\w+).*)"
)
_ANSWERS = frozenset({"generateContent", "streamGenerateContent"})
_EMBEDDINGS = frozenset({"embedContent", "batchEmbedContents"})
_PREDICTION = "predict"
_MOST_IMAGES = 4
"""How many images are made unless the request says it."""
_SEARCHES = ("googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval")

GUARDED = _ANSWERS | _EMBEDDINGS | {_PREDICTION}

_TOKENS_OF_AN_IMAGE = 1_120
"""The most that an image is at the resolution that models take by default."""
_TOKENS_OF_A_CONTENT = 1
_TOKENS_OF_A_FILE = 1_500
"""What a file or a recording is taken for, whose length can't be seen here."""
_UNREAD = frozenset({"thoughtSignature", "thought_signature", "thought"})
_CHARACTERS_OF_A_THOUGHT_TOKEN = 8
"""How long the signature of an earlier thought is for each token that the thought is charged."""
_FACTOR_OF_AN_ANSWER = 1.5
_FACTOR_OF_DEFINITIONS = 2
"""What a schema in JSON is charged for each token that it is: that of an answer, and one of a tool with definitions."""
_TOKENS_OF_A_CACHE = 4_096
"""What a cached content is taken for until something has told how much it is: the least that most models keep."""
_HOSTED = {
    "codeExecution": 1_600, "code_execution": 1_600, "urlContext": 10_000, "url_context": 10_000,
    "fileSearch": 10_000, "file_search": 10_000, "retrieval": 10_000,
}  # fmt: skip
"""What tools that run at Google usually add to the input."""


@dataclass(frozen=True, slots=True)
class GoogleCall:
    """A request that calls a model: `address` are the parts of its URL."""

    address: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model that is called."""
        return self.address["model"]

    @property
    def is_embedding(self) -> bool:
        """Whether it asks for embeddings, which have no output."""
        # On Vertex AI images are predicted as well, from a prompt; embeddings have the content of each text.
        texts = members(self.body.get("instances"))
        is_of_texts = self.address["verb"] == _PREDICTION and any(text(each, "content") for each in texts)
        return self.address["verb"] in _EMBEDDINGS or is_of_texts

    @property
    def is_image(self) -> bool:
        """Whether it asks for images of a model that makes nothing else."""
        return self.address["verb"] == _PREDICTION and not self.is_embedding


def call_of(url: str, method: str, body: object) -> GoogleCall | None:
    """Return the call of a model that a request makes; None for any other request."""
    found = _ADDRESS.fullmatch(url) if method.lower() == "post" and isinstance(body, dict) else None
    if found is None or not isinstance(body, dict) or found["verb"] not in GUARDED:
        return None
    return GoogleCall(found.groupdict(), body)


def ask_of(call: GoogleCall, provider: str, caches: KnownCaches, count: Callable[[str, str], int]) -> Ask:
    """Return what a guard asks for this call; `count` counts a text for a model."""
    if call.is_image:
        return _ask_of_images(call, provider)
    body, options = call.body, call.body.get("generationConfig")
    cached = text(body, "cachedContent")
    known = 0 if cached is None else caches.tokens_of(cached)

    def count_text(words: str) -> int:
        return count(words, call.model)

    limit, choices = member(options, "maxOutputTokens"), member(options, "candidateCount")
    tier = tier_named(body.get("serviceTier"))
    return Ask(
        provider=provider,
        model=call.model,
        input_tokens=_input_tokens(body, count_text) + (_TOKENS_OF_A_CACHE if known is None else known),
        known_tokens=known or 0,
        is_counted=known is not None,  # what is taken for something must not correct what is counted
        output_limit=limit if type(limit) is int and limit > 0 else None,
        choices=choices if type(choices) is int and choices > 1 else 1,
        has_output=not call.is_embedding,
        requires=_required(body),
        request_type="embedding" if call.is_embedding else None,
        service_tier=None if tier == STANDARD else tier,
        max_usage=_searches(call),
        output_kind=_output_kind(call.model, options),
    )


def _ask_of_images(call: GoogleCall, provider: str) -> Ask:
    asked = member(call.body.get("parameters"), "sampleCount")
    return Ask(
        provider=provider,
        model=call.model,
        input_tokens=0,
        has_output=False,
        takes_model=False,
        is_counted=False,
        is_text=False,
        request_type="image",
        max_usage={"images": asked if type(asked) is int and asked > 0 else _MOST_IMAGES},
    )


def _searches(call: GoogleCall) -> Mapping[str, int]:
    """Return how many searches are charged at most: once for a prompt, or, of newer models, nobody can say it."""
    tools = members(call.body.get("tools"))
    may_search = any(member(tool, name) is not None for tool in tools for name in _SEARCHES)
    return {"web_searches": 1} if may_search and is_charged_per_prompt(call.model) else {}


def _output_kind(model: str, options: object) -> str | None:
    modalities = members(member(options, "responseModalities"))
    if "IMAGE" in modalities or "-image" in model:
        return "image_output_tokens"
    return "audio_output_tokens" if "AUDIO" in modalities else None


def url_for(call: GoogleCall, model: str) -> str:
    """Return the URL to send to, with a stand-in model in place of the caller's."""
    return f"{call.address['begin']}{model}{call.address['end']}"


def body_for(call: GoogleCall, output_limit: int | None) -> Mapping[str, Any]:
    """Return the body to send, with a limit if there is one of ours."""
    if output_limit is None:
        return call.body
    options = {**(call.body.get("generationConfig") or {}), "maxOutputTokens": output_limit}
    return {**call.body, "generationConfig": options}


def _input_tokens(body: Mapping[str, Any], count: Count) -> int:
    contents = (body.get("systemInstruction"), *members(body.get("contents")))
    return (
        sum(_content_tokens(content, count) for content in contents)
        + sum(_tool_tokens(tool, count) for tool in members(body.get("tools")))
        + ceil(_FACTOR_OF_AN_ANSWER * _json_tokens(_schema(body), count))
        + sum(_content_tokens(content, count) for content in _embedded(body))
    )


def _tool_tokens(tool: object, count: Count) -> int:
    functions = members(either(tool, "functionDeclarations", "function_declarations"))
    hosted = sum(more for name, more in _HOSTED.items() if member(tool, name) is not None)
    return count_tools(functions, count).tokens + sum(_tokens_of_schemas(each, count) for each in functions) + hosted


def _tokens_of_schemas(function: object, count: Count) -> int:
    """Count what a function declares in JSON; declarations of types in `parameters` are counted with the tools."""
    given = either(function, "parametersJsonSchema", "parameters_json_schema")
    returned = either(function, "responseJsonSchema", "response_json_schema", "response")
    factor = 1 if member(given, "$defs") is None else _FACTOR_OF_DEFINITIONS
    return factor * _json_tokens(given, count) + _json_tokens(returned, count)


def _json_tokens(value: object, count: Count) -> int:
    return 0 if value is None else count(json.dumps(value, default=str))


def _embedded(body: Mapping[str, Any]) -> Iterator[object]:
    """Yield the contents that embeddings are asked of, in the three shapes of the API and of Vertex AI."""
    yield body.get("content")
    for each in (*members(body.get("requests")), *members(body.get("instances"))):
        yield member(each, "content")


def _content_tokens(content: object, count: Count) -> int:
    if isinstance(content, str):
        return count(content)
    parts = members(member(content, "parts"))
    return sum((_part_tokens(part, count) for part in parts), start=_TOKENS_OF_A_CONTENT if parts else 0)


def _part_tokens(part: object, count: Count) -> int:
    if not isinstance(part, dict):
        return 0
    kind = _media_of(part)
    if kind is not None:
        return _TOKENS_OF_AN_IMAGE if kind.startswith("image/") else _TOKENS_OF_A_FILE
    said = [value for name, value in part.items() if name not in _UNREAD]
    signature = either(part, "thoughtSignature", "thought_signature")
    thoughts = ceil(len(signature) / _CHARACTERS_OF_A_THOUGHT_TOKEN) if isinstance(signature, str | bytes) else 0
    return thoughts + sum(count(each if isinstance(each, str) else json.dumps(each, default=str)) for each in said)


def _media_of(part: object) -> str | None:
    """Return the type of what a part has in place of a text; None for a text."""
    data = either(part, "inlineData", "inline_data", "fileData", "file_data")
    return None if data is None else text(data, "mimeType") or text(data, "mime_type") or "application/octet-stream"


def _schema(body: Mapping[str, Any]) -> object:
    options = body.get("generationConfig")
    return member(options, "responseJsonSchema") or member(options, "responseSchema")


def _required(body: Mapping[str, Any]) -> tuple[str, ...]:
    required = []
    options = body.get("generationConfig")
    if body.get("tools"):
        required.append(TOOLS)
    if _schema(body) is not None or text(options, "responseMimeType") == "application/json":
        required.append(STRUCTURED_OUTPUT)
    parts = [part for content in members(body.get("contents")) for part in members(member(content, "parts"))]
    media = {kind.partition("/")[0] for part in parts if (kind := _media_of(part)) is not None}
    if media & {"image", "video", "application"}:
        required.append(VISION)
    if "audio" in media or "AUDIO" in members(member(options, "responseModalities")):
        required.append(AUDIO)
    return tuple(required)
