"""Lines of a run's stream become news, and anything else is passed over or refused."""

import json
from typing import Any

import pytest

from token_ledger_sdk import Amounts, InvalidAnswer, RunNews, RunShare
from token_ledger_sdk.wire.events_of_runs import EventLines

NEWS: dict[str, Any] = {
    "sequence": 4, "run_id": "65536", "state": "open", "stop": None, "iterations": {"limit": 20, "taken": 1},
    "limits": {"tokens": 50_000, "cost": None, "calls": None}, "shares": [{"agent_type": "data", "tokens": 50_000}],
    "setup_version": 3,
}  # fmt: skip


def _read(text: str) -> list[RunNews]:
    lines = EventLines()
    return [news for line in text.splitlines() if (news := lines.add(line)) is not None]


def test_news_come_with_the_blank_line_after_them() -> None:
    [news] = _read(f": ping\n\nevent: run\ndata: {json.dumps(NEWS)}\n\n")
    assert (news.state, news.stop, news.iterations.limit) == ("open", None, 20)
    assert news.terms == (Amounts(tokens=50_000), (RunShare("data", 50_000),), 3)
    assert _read(f"event: run\ndata: {json.dumps(NEWS)}\n") == []


def test_data_may_have_many_lines_and_no_blank() -> None:
    text = json.dumps(NEWS, indent=1).replace("\n", "\ndata:")
    assert len(_read(f"event:run\ndata:{text}\n\n")) == 1


@pytest.mark.parametrize("event", ["usage", "", "budget"])
def test_other_events_are_passed_over(event: str) -> None:
    assert _read(f"event: {event}\nid: 5\ndata: not json\n\nevent: run\ndata: {json.dumps(NEWS)}\n\n") != []


@pytest.mark.parametrize("data", ["", "nonsense", "[]", "{}", json.dumps({**NEWS, "state": 1})])
def test_news_that_are_none_are_refused(data: str) -> None:
    with pytest.raises(InvalidAnswer):
        _read(f"event: run\ndata: {data}\n\n")
