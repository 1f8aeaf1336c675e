"""What is remembered of earlier calls is bounded: the oldest goes first."""

import pytest

from token_ledger_sdk.adapters import earlier_responses, google_caches
from token_ledger_sdk.adapters.earlier_responses import EarlierResponses
from token_ledger_sdk.adapters.google_caches import KnownCaches
from token_ledger_sdk.providers import Reading, Usage


def test_of_many_responses_the_last_ones_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier_responses, "_MOST_KEPT", 2)
    responses = EarlierResponses()
    for name in ("first", "second", "third"):
        responses.note(Reading(Usage(10, 1), response_id=name))
    assert [responses.tokens_of(name) for name in ("first", "second", "third")] == [0, 11, 11]


def test_of_many_cached_contents_the_last_ones_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_caches, "_MOST_KEPT", 2)
    caches = KnownCaches()
    for name in ("first", "second", "third"):
        caches.note({"name": f"cachedContents/{name}", "usageMetadata": {"totalTokenCount": 5_000}})
    known = [caches.tokens_of(f"cachedContents/{name}") for name in ("first", "second", "third")]
    assert known == [None, 5_000, 5_000]
