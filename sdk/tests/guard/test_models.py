"""What is known of models is kept on disk, and asked for again only when it is old."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from token_ledger_sdk import TokenLedger
from token_ledger_sdk.guard.models import FRESH_SECONDS, NOTHING_KNOWN, ModelCache, ModelFacts

URL, KEY = "http://ledger.test", "tl_test_1_secret"
LISTED = {"models": [{"max_output_tokens": 128_000, "context_tokens": None, "capabilities": ["tools"]}], "next": None}


class Models:
    """A service that knows one model."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.answer = httpx2.Response(200, json=LISTED, headers={"ETag": '"a"'})

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.headers.get("If-None-Match") == self.answer.headers.get("ETag"):
            return httpx2.Response(304)
        return self.answer


@pytest.fixture
def service_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Models()


def found(models: Models, *, key: str = KEY, age: float = 0.0) -> ModelFacts:
    """Ask as a process of its own, so many seconds later."""
    with TokenLedger(URL, key, transport=httpx2.MockTransport(models), max_retries=0) as ledger:
        clock = ledger._wrapper._models._cache._clock
        ledger._wrapper._models._cache._clock = lambda: clock() + age
        return ledger._wrapper._models.find("openai", "gpt-5.4")


def test_another_process_finds_it_on_disk(service_of_models: Models) -> None:
    facts = ModelFacts(None, 128_000, ("tools",))
    assert [found(service_of_models) for _ in range(3)] == [facts] * 3
    (request,) = service_of_models.requests
    assert dict(request.url.params) == {"provider": "openai", "model": "gpt-5.4", "limit": "1"}


def test_what_is_old_is_asked_for_by_its_tag(service_of_models: Models) -> None:
    first = found(service_of_models)
    assert found(service_of_models, age=FRESH_SECONDS + 1) == first
    assert [each.headers.get("If-None-Match") for each in service_of_models.requests] == [None, '"a"']
    service_of_models.answer = httpx2.Response(200, json={"models": []}, headers={"ETag": '"b"'})
    assert found(service_of_models, age=3 * FRESH_SECONDS) == NOTHING_KNOWN


def test_a_service_that_is_away_leaves_what_is_kept(service_of_models: Models) -> None:
    first = found(service_of_models)
    service_of_models.answer = httpx2.Response(503)
    assert found(service_of_models, age=FRESH_SECONDS + 1) == first
    assert found(service_of_models, key="tl_test_2_other") == NOTHING_KNOWN


def test_the_file_names_no_key_and_tenants_have_their_own(service_of_models: Models, tmp_path: Path) -> None:
    found(service_of_models)
    found(service_of_models, key="tl_test_2_other")
    files = [*(tmp_path / "token-ledger" / "models").iterdir()]
    assert len(files) == 2
    assert not any("secret" in file.read_text() or "secret" in file.name for file in files)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"openai/gpt-5.4": {}}', '{"openai/gpt-5.4": 5}', "\x00\xff"])
def test_a_file_that_is_damaged_is_made_anew(content: str, service_of_models: Models, tmp_path: Path) -> None:
    found(service_of_models)
    (file,) = (tmp_path / "token-ledger" / "models").iterdir()
    file.write_text(content)
    assert found(service_of_models).max_output_tokens == 128_000
    assert len(service_of_models.requests) == 2


def test_a_directory_that_is_gone_costs_no_call(tmp_path: Path) -> None:
    cache = ModelCache("a", directory=tmp_path / "gone")
    assert cache.keep("openai", "x", LISTED, None).facts().max_output_tokens == 128_000
    assert cache.find("openai", "x") is not None


@pytest.mark.parametrize("body", [{}, {"models": 5}, {"models": [{"max_output_tokens": "many"}]}])
def test_an_answer_of_another_form_says_nothing(body: dict[str, object], tmp_path: Path) -> None:
    assert ModelCache("a", directory=tmp_path).keep("openai", "x", body, None).facts() == NOTHING_KNOWN


def test_not_all_that_was_ever_asked_is_kept(tmp_path: Path) -> None:
    cache = ModelCache("a", directory=tmp_path)
    for number in range(510):
        cache.keep("openai", str(number), {}, None)
    assert (cache.find("openai", "9"), cache.find("openai", "10") is not None) == (None, True)
