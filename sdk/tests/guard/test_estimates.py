"""The text of cut streams, and the estimates from it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import Usage, text_tokens
from token_ledger_sdk.guard.attempts import Attempts, Received, State
from token_ledger_sdk.guard.estimates import estimate_lost, estimate_received
from token_ledger_sdk.providers import chunks_of
from token_ledger_sdk.providers.output_text import output_text

ASKED = Usage(100, 500, web_searches=2)


def test_nothing_received_is_the_limit() -> None:
    estimate = estimate_lost(ASKED)
    assert (estimate.usage, estimate.rule) == (ASKED, "input counted, output limit")


def test_a_text_is_counted_and_other_kinds_are_kept() -> None:
    estimate = estimate_received(ASKED, Received(None, "Hello, world!"), "gpt-5")
    assert estimate.usage == Usage(100, 4, web_searches=2)
    assert estimate.rule == "input counted, output from text (tiktoken)"


def test_what_the_stream_told_counts_before_what_was_asked() -> None:
    told = Usage(90, 1, cache_read_tokens=80)
    estimate = estimate_received(ASKED, Received(told, "Hello, world!"), "claude-sonnet-4-6")
    assert estimate.usage == Usage(90, 4, cache_read_tokens=80)
    assert estimate.rule == "input told by the stream, output from text (tiktoken)"
    assert estimate_received(ASKED, Received(Usage(90, 40), "Hello"), "x").rule == "figures of the stream so far"


def test_no_more_than_the_limit_is_estimated() -> None:
    assert estimate_received(Usage(1, 3), Received(None, "word " * 50), "gpt-5").usage.output_tokens == 3


def test_without_tiktoken_characters_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_tokens(name: str, names: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if name == "tokens" and level:
            raise ImportError(name)
        return load(name, names, locals_, fromlist, level)

    text_tokens._counter.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_tokens)
    try:
        estimate = estimate_received(ASKED, Received(None, "abcde你好"), "gpt-5")
    finally:
        text_tokens._counter.cache_clear()
    assert (estimate.usage.output_tokens, estimate.rule) == (
        4,
        "input counted, output from text (4 characters a token)",
    )


def test_attempts_in_every_order() -> None:
    attempts = Attempts()
    assert (attempts.state, attempts.release_reason) == (State.NOT_SENT, "not sent")
    attempts.begin()
    assert attempts.release_reason is None
    attempts.refuse(429)
    assert attempts.release_reason == "the provider answered 429"
    attempts.begin()
    attempts.refuse(502)
    attempts.begin()
    attempts.fail(httpx2.ConnectError("x"))
    assert (attempts.release_reason, attempts.lost, attempts.sent) == (None, ["status_502"], 3)
    attempts.begin()
    attempts.begin()  # nobody has said how the one before ended
    attempts.answer()
    assert (attempts.lost, attempts.release_reason) == (["status_502", "no_answer"], None)


@pytest.mark.parametrize(
    ("number", "begin"),
    [("196", "get_capital"), ("284", ""), ("024", ""), ("026", ""), ("021", ""), ("297", "")],
)
def test_the_text_of_recorded_streams(number: str, begin: str, recorded: Callable[[str], str]) -> None:
    text = "".join(map(output_text, chunks_of(recorded(number))))
    assert text
    assert text.startswith(begin)


def test_the_text_of_gemini_and_calls() -> None:
    part = {"functionCall": {"name": "look", "args": {"a": 1}}}
    chunk = {"candidates": [{"content": {"parts": [{"text": "Hi "}, part]}}]}
    assert output_text(chunk) == 'Hi look{"a": 1}'
    assert output_text({"choices": [{"text": "old"}]}) == "old"
    assert output_text({"type": "message_stop"}) == ""
    assert output_text(None) == ""
