"""The page of metrics: rendered once for all who ask, in another thread, and nothing else is served beside it."""

import asyncio
import threading
from typing import Any

import httpx2
import pytest
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from token_ledger.api import metrics_page
from token_ledger.api.metrics_page import MetricsPage
from token_ledger.observability.metrics import Metrics


@pytest.fixture
def rendered_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that have rendered a page."""
    threads: list[threading.Thread] = []

    def counting(registry: Any) -> bytes:
        threads.append(threading.current_thread())
        return generate_latest(registry)

    monkeypatch.setattr(metrics_page, "generate_latest", counting)
    return threads


async def _scraped(page: MetricsPage, *paths: str) -> list[httpx2.Response]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(page), base_url="http://metrics") as client:
        return await asyncio.gather(*map(client.get, paths))


def _page() -> MetricsPage:
    registry = CollectorRegistry()
    return MetricsPage(registry, Metrics(registry))


async def test_twenty_scrapers_share_a_page_that_another_thread_renders(
    rendered_by: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = _page()
    answers = await _scraped(page, *["/metrics"] * 20)
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, CONTENT_TYPE_LATEST)}
    await _scraped(page, "/metrics")
    assert len(rendered_by) == 1
    assert rendered_by[0] is not threading.main_thread()
    monkeypatch.setattr(metrics_page, "KEPT_SECONDS", 0.0)
    await _scraped(page, "/metrics")
    assert len(rendered_by) == 2


async def test_nothing_else_is_served_there() -> None:
    answers = await _scraped(_page(), "/", "/v1/budgets", "/docs", "/metrics/")
    assert {answer.status_code for answer in answers} == {404}
