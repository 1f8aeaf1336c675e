"""Counting tokens offline, with the ranks in a directory of our own."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import tiktoken
import tiktoken.registry

from token_ledger_sdk import tokens
from token_ledger_sdk.text_tokens import is_quick


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, nothing loaded yet, and no network."""

    def no_network(*args: Any) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(socket.socket, "connect", no_network)
    tokens._loaded.clear()
    yield tmp_path / "token-ledger" / "tiktoken"
    tokens._loaded.clear()


@pytest.mark.parametrize(
    ("model", "count", "exact"),
    [
        ("gpt-4-0613", 4, True),
        ("gpt-5.6-sol", 4, True),
        ("openai/gpt-oss-120b", 4, True),
        ("claude-sonnet-4-6", 5, False),
        ("mistral-large-latest", 4, False),
        ("", 4, False),
    ],
)
def test_counts(model: str, count: int, exact: bool) -> None:
    assert tokens.count_tokens("Hello, world!", model) == (count, exact)


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        ("gpt-4", "cl100k_base", True),
        ("gpt-4-turbo", "cl100k_base", True),
        ("GPT-3.5-turbo-0125", "cl100k_base", True),
        ("text-embedding-3-small", "cl100k_base", True),
        ("gpt-4o-mini", "o200k_base", True),
        ("gpt-4.1-nano", "o200k_base", True),
        ("ft:gpt-4o-2024-08-06:us::x", "o200k_base", True),
        ("o3-mini", "o200k_base", True),
        ("openai.gpt-oss-20b", "o200k_harmony", True),
        ("gemini-3.6-flash", "o200k_base", False),
        ("davinci-002", "o200k_base", False),
    ],
)
def test_encodings(model: str, encoding: str, exact: bool) -> None:
    assert tokens.encoding_for(model) == (encoding, exact)


def test_special_tokens_and_broken_text_count_as_text() -> None:
    assert tokens.count_tokens("<|endoftext|>", "gpt-5")[0] > 1
    assert tokens.count_tokens("\ud800", "gpt-5")[0] > 0
    assert tokens.count_tokens("", "gpt-5") == (0, True)


def test_the_environment_is_left_as_it_was() -> None:
    tokens.count_tokens("a", "gpt-5")
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


def test_a_damaged_cache_is_written_anew(cache_home: Path) -> None:
    tokens.count_tokens("a", "gpt-4")
    (path,) = cache_home.iterdir()
    path.write_bytes(b"damaged")
    tokens._loaded.clear()
    tiktoken.registry.ENCODINGS.clear()
    assert tokens.count_tokens("Hello, world!", "gpt-4") == (4, True)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("223921b7")


def test_the_operators_directory_is_respected(
    cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    source = tokens._provide_ranks("cl100k_base")
    source.rename(theirs)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(theirs))
    assert tokens.count_tokens("Hello, world!", "gpt-4") == (4, True)
    assert not cache_home.exists()


async def test_large_texts_count_in_a_thread() -> None:
    text = "word " * 20_000
    assert await tokens.count_tokens_async(text, "gpt-5") == tokens.count_tokens(text, "gpt-5")
    assert await tokens.count_tokens_async("a", "gpt-5") == (1, True)


async def test_an_encoding_is_loaded_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    load, threads = tokens._load, []

    def noted(name: str) -> tiktoken.Encoding:
        threads.append(threading.current_thread())
        return load(name)

    monkeypatch.setattr(tokens, "_load", noted)
    for _ in range(2):
        assert await tokens.count_tokens_async("Hello, world!", "gpt-5") == (4, True)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_while_another_thread_imports_it_no_text_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "token_ledger_sdk.tokens", ModuleType("token_ledger_sdk.tokens"))
    assert not is_quick(10, "gpt-5.4")
