"""Reads the text that one event of a stream brings, so that a stream that was cut can be counted."""

from __future__ import annotations

import json

from .bodies import member, members, text

_CHAT = ("content", "reasoning_content", "reasoning", "refusal")
_ANTHROPIC = ("text", "thinking", "partial_json")


def output_text(event: object) -> str:
    """Return what a model generated in one event: answer, reasoning, calls of tools; empty if there is none.

    Reads chunks of OpenAI's chat and completions, events of Responses and Anthropic, and chunks of Gemini.
    """
    event = member(event, "chunk") or event
    if (choices := members(member(event, "choices"))) or member(event, "choices") is not None:
        return "".join(_of_choice(choice) for choice in choices)
    kind = text(event, "type") or ""
    delta = member(event, "delta")
    if kind.startswith("response.") and kind.endswith(".delta"):
        return delta if isinstance(delta, str) else ""
    if kind == "transcript.text.delta":
        return text(event, "delta") or ""
    if kind == "content_block_delta":
        return "".join(text(delta, name) or "" for name in _ANTHROPIC)
    if kind == "content_block_start":
        return text(member(event, "content_block"), "name") or ""
    return "".join(_of_candidate(candidate) for candidate in members(member(event, "candidates")))


def whole_output_text(body: object) -> str:
    """Return what a model generated in a whole answer, of OpenAI, Anthropic or Gemini; empty if unknown."""
    choices = members(member(body, "choices"))
    said = "".join(_of_message(member(choice, "message")) or text(choice, "text") or "" for choice in choices)
    items = (*members(member(body, "output")), *members(member(body, "content")))
    candidates = members(member(body, "candidates"))
    return said + "".join(map(_of_item, items)) + "".join(map(_of_candidate, candidates))


def _of_message(message: object) -> str:
    said = "".join(text(message, name) or "" for name in _CHAT)
    calls = [member(call, "function") for call in members(member(message, "tool_calls"))]
    return said + "".join(_of_call(call) for call in (*calls, member(message, "function_call")))


def _of_item(item: object) -> str:
    parts = "".join(text(part, "text") or "" for part in members(member(item, "content")))
    arguments = member(item, "input")
    called = json.dumps(arguments, default=str) if isinstance(arguments, dict) else ""
    return (text(item, "text") or "") + parts + _of_call(item) + called


def _of_choice(choice: object) -> str:
    delta = member(choice, "delta")
    return (text(choice, "text") or "") if delta is None else _of_message(delta)


def _of_call(call: object) -> str:
    return (text(call, "name") or "") + (text(call, "arguments") or "")


def _of_candidate(candidate: object) -> str:
    parts = members(member(member(candidate, "content"), "parts"))
    return "".join((text(part, "text") or "") + _of_gemini_call(part) for part in parts)


def _of_gemini_call(part: object) -> str:
    call = member(part, "functionCall") or member(part, "function_call")
    if call is None:
        return ""
    arguments = member(call, "args")
    return (text(call, "name") or "") + (json.dumps(arguments, default=str) if arguments else "")
