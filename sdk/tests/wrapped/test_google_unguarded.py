"""What a wrapped client of the google-genai library refuses, because nobody would guard it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google import genai

from token_ledger_sdk import AsyncTokenLedger, TokenLedger

from .conftest import GrantingLedger
from .provider import Provider

MODEL = "gemini-2.5-flash"
REFUSED: list[tuple[str, Callable[[Any], object]]] = [
    ("interactions.create", lambda side: side.interactions.create(model=MODEL, input="x")),
    ("interactions.with_raw_response", lambda side: side.interactions.with_raw_response.create(model=MODEL, input="x")),
    ("batches.create", lambda side: side.batches.create(model=MODEL, src=[])),
    ("batches.create_embeddings", lambda side: side.batches.create_embeddings(model=MODEL, src={})),
    ("triggers.run", lambda side: side.triggers.run("t")),
    ("decisions.create", lambda side: side.decisions.create(model=MODEL, input="x", questions={})),
]
LIVE: list[tuple[str, Callable[[Any], object]]] = [
    ("live.connect", lambda side: side.live.connect(model=MODEL)),
    ("live.music", lambda side: side.live.music.connect(model=MODEL)),
]


@pytest.fixture
def sides(bare_google: genai.Client, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> list[Any]:
    """Both sides of a client that either of the ledger's clients has wrapped, and the side that was wrapped alone."""
    wrapped = [ledger.wrap(bare_google, user="ada"), async_ledger.wrap(bare_google, user="ada")]
    alone = async_ledger.wrap(bare_google.aio, user="ada")
    return [*wrapped, *(each.aio for each in wrapped), alone]


@pytest.mark.parametrize(("name", "call"), REFUSED)
def test_what_calls_models_and_is_not_guarded_is_refused(
    name: str, call: Callable[[Any], object], sides: list[Any], provider: Provider, granting: GrantingLedger
) -> None:
    for side in sides:
        with warnings.catch_warnings(), pytest.raises(TypeError, match=rf"{name} may cost money.*not wrapped"):
            warnings.simplefilter("ignore")  # the library says that some of these are experimental
            call(side)
    assert (provider.asked, granting.requests) == ([], [])


@pytest.mark.parametrize(("name", "call"), LIVE)
def test_live_sessions_are_refused(name: str, call: Callable[[Any], object], sides: list[Any]) -> None:
    for side in sides[2:]:
        with pytest.raises(TypeError, match=rf"{name} may cost money.*ledger\.reserve"):
            call(side)


def test_what_is_put_into_a_store_for_searches_is_refused(
    bare_google: genai.Client, ledger: TokenLedger, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    client = ledger.wrap(bare_google, user="ada")
    with pytest.raises(TypeError, match="uploadToFileSearchStore may cost money"):
        client.file_search_stores.upload_to_file_search_store(
            file_search_store_name="fileSearchStores/s", file=tmp_path / "a.txt"
        )
    assert provider.asked == []


def test_batches_that_were_made_can_be_asked_for(sides: list[Any], provider: Provider) -> None:
    provider.json({"name": "batches/1", "metadata": {"state": "BATCH_STATE_RUNNING"}})
    for side in sides[:2]:
        assert side.batches.get(name="batches/1").name == "batches/1"
    assert copy.copy(sides[0].batches) is not None


def test_the_client_that_was_wrapped_stays_as_it_was(sides: list[Any], bare_google: genai.Client) -> None:
    assert type(bare_google.aio.live).__name__ == "AsyncLive"
    assert type(bare_google.batches).__name__ == "Batches"
    assert type(bare_google.interactions).__module__.startswith("google.genai")
