"""What providers said costs what their published rates make of it, in the core and over HTTP.

The figures of the responses were found without this project's code: see `tests/data/README.md`.
"""

import csv
import gzip
import json
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from token_ledger_sdk import AnyStreamUsage, AsyncTokenLedger, StreamUsage, UsageEvent, UsageMissing, reading_of
from token_ledger_sdk.providers import Reading, served_model

from tests.api.world import World
from token_ledger.core.model.charge import charge
from token_ledger.core.model.money import format_money
from token_ledger.core.model.other_kinds import OTHER_KINDS
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.principal import Role
from token_ledger.core.model.usage import KINDS, Usage, clamp, usage_from
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RECORDINGS = REPOSITORY / "sdk" / "tests" / "data"
LINES = (REPOSITORY / "tests" / "data" / "priced_responses.jsonl").read_text(encoding="utf-8").splitlines()
CASES: list[dict[str, Any]] = [json.loads(line) for line in LINES]
WRITTEN = datetime(2026, 11, 29, 12, tzinfo=UTC)
"""When the figures were computed."""
NANO = Decimal("0.000000001")
PER = {"web_searches": 1_000, "file_searches": 1_000, "pages": 1_000, "requests": 1_000}
FULL: dict[str, Any] = {"input_tokens": 1, "max_output_tokens": 1, "agent_type": "planner"}


def _recordings() -> dict[str, tuple[str, bool]]:
    """Return the recorded texts by their numbers, and whether each is a stream."""
    with gzip.open(RECORDINGS / "others.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = {each["file"]: each["body"] for each in map(json.loads, lines)}
    with (RECORDINGS / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        name = row["file"]
        text = texts[name] if name in texts else (RECORDINGS / name).read_text(encoding="utf-8")
        found[name[:3]] = text, row["stream"] == "1"
    return found


RECORDED = _recordings()


def response_of(case: dict[str, Any]) -> Any:
    """Return the response of a case, a stream as its accumulator."""
    events = case.get("events")
    if "recording" in case:
        text, is_stream = RECORDED[case["recording"]]
        if not is_stream:
            return json.loads(text)
        sent = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        events = [json.loads(each) for each in sent if each != "[DONE]"]
    return case["body"] if events is None else stream_of(events)


def stream_of(events: list[dict[str, Any]]) -> StreamUsage:
    stream = AnyStreamUsage()
    list(stream.watch(events))
    return stream


def name_of(case: dict[str, Any]) -> str:
    return case.get("name") or f"{case['recording']} {case['provider']}/{case['model']}"


def instant_of(case: dict[str, Any]) -> datetime:
    if "at" in case:
        return datetime.fromisoformat(case["at"])
    return datetime.combine(WRITTEN.date(), time.fromisoformat(case.get("time_of_day", "12:00")), UTC)


def counts(usage: Usage) -> dict[str, int]:
    return {kind: count for kind, count in usage.by_kind.items() if count}


def charged(prices: PriceBook, provider: str, reading: Reading, model: str, at: datetime, calls: int) -> Any:
    """Return usage, cost in dollars and whether all has a price, as the core finds them."""
    usage, _ = clamp(usage_from(reading.usage.to_json()))
    found = prices.find(provider, model)
    price = None if found is None else found.at(at)
    tier = None if reading.service_tier == "standard" else reading.service_tier
    nanos, _, is_priced = charge(price, usage, tier, calls, at)
    return counts(usage), format_money(nanos), is_priced


@pytest.fixture(scope="module")
async def prices(world: World) -> PriceBook:
    """The price book as it is seeded."""
    database = Database(world.url)
    async with database.reading() as connection:
        found = await load_price_book(connection)
    await database.close()
    return found


@pytest.fixture(scope="module")
async def clients(world: World) -> list[AsyncTokenLedger]:
    """Clients of two tenants: one settles holds, the other reports events."""
    transport = httpx2.ASGITransport(world.app, raise_app_exceptions=False)
    keys = [world.keys[tenant, Role.AGENT] for tenant in ("acme", "globex")]
    return [AsyncTokenLedger("http://ledger.test", key, transport=transport) for key in keys]


@pytest.mark.parametrize("case", CASES, ids=[name_of(case) for case in CASES])
def test_the_arithmetic_is_written_out(case: dict[str, Any]) -> None:
    for part in (case, *case.get("others", ())):
        lines = [
            (Decimal(count) * Decimal(rate) / PER.get(kind, 1_000_000))
            for kind, count, rate in part["lines"]
            if rate is not None
        ]
        total = sum((line.quantize(NANO, ROUND_HALF_EVEN) for line in lines), Decimal(0))
        assert Decimal(part["cost"]) == total


@pytest.mark.parametrize("case", CASES, ids=[name_of(case) for case in CASES])
async def test_the_core_prices_a_response_as_its_provider_does(case: dict[str, Any], prices: PriceBook) -> None:
    reading, at = reading_of(response_of(case)), instant_of(case)
    assert reading.service_tier == case.get("service_tier", "standard")
    assert counts(usage_from(reading.usage.to_json())) == case["usage"]
    model = served_model(case["provider"], case["model"], reading) or case["model"]
    expected = case.get("booked", case["usage"]), case["cost"], not case.get("unpriced", False)
    assert charged(prices, case["provider"], reading, model, at, 1) == expected
    others = [
        (each.model, *charged(prices, case["provider"], each, each.model or "", at, 0)) for each in reading.others
    ]
    assert others == [(each["model"], each["usage"], each["cost"], True) for each in case.get("others", ())]


async def test_a_service_prices_all_responses_so(world: World, clients: list[AsyncTokenLedger]) -> None:
    settling, reporting = clients
    today = [case for case in CASES if "at" not in case]
    booked: dict[tuple[int, str | None], dict[str, Any]] = {}
    wrong: list[Any] = []
    for case in today:
        response, reading = response_of(case), reading_of(response_of(case))
        expected = case["cost"], case.get("unpriced", False), *(each["cost"] for each in case.get("others", ()))
        if "time_of_day" not in case and "without_hold" not in case:  # a hold is priced now
            hold = await settling.reserve(user="ada", provider=case["provider"], model=case["model"], **FULL)
            settled = await hold.settle(response)
            said = f"{settled.cost:f}", settled.unpriced, *(f"{each.cost:f}" for each in settled.other_models)
            if said != expected or not all(each.booked for each in settled.other_models):
                wrong.append((name_of(case), said, expected))
            booked[world.tenants["acme"], settled.event_id] = case
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        event = UsageEvent(
            source="test", agent_type="planner", provider=case["provider"], usage=reading.usage, user="ada",
            model=served_model(case["provider"], case["model"], reading) or case["model"],
            service_tier=None if reading.service_tier == "standard" else reading.service_tier,
            response_id=reading.response_id,
            occurred_at=datetime.combine(yesterday, time.fromisoformat(case.get("time_of_day", "12:00")), UTC),
        )  # fmt: skip
        [recorded] = await reporting.record([event])
        if f"{recorded.cost:f}" != case["cost"]:
            wrong.append((name_of(case), recorded, expected))
        booked[world.tenants["globex"], recorded.event_id] = case
    assert wrong == []
    assert len(booked) > 300
    await _check_counts(world, booked)
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def _check_counts(world: World, booked: dict[tuple[int, str | None], dict[str, Any]]) -> None:
    """Check that events have the usage that was read, kind by kind, and the tier."""
    rows = await world.rows("select * from usage_events where calls = 1")
    assert len(rows) == len(booked)
    wrong = []
    for row in rows:
        case = booked[row["tenant_id"], str(row["event_id"])]
        others = json.loads(row["others"]) if row["others"] else {}
        found = {kind: row[kind] for kind in KINDS if row[kind]}
        found |= {kind: said[0] for kind, said in others.items() if kind in OTHER_KINDS and kind != "requests"}
        if found != case.get("booked", case["usage"]) or row["service_tier"] != case.get("service_tier"):
            wrong.append((name_of(case), found, case["usage"]))
    assert wrong == []


@pytest.mark.parametrize(
    ("provider", "model", "response", "advice"),
    [
        ("openai", "gpt-4o", {"id": "x", "usage": {"tokens_used": 12}}, "Usage("),
        ("anthropic", "claude-opus-4-8", {"type": "message_delta", "usage": {"output_tokens": 5}}, "AnthropicStream"),
        ("openai", "gpt-4o", {"object": "chat.completion.chunk", "choices": [], "usage": None}, "OpenAIStreamUsage"),
    ],
)
async def test_a_usage_that_nobody_knows_is_not_booked(
    provider: str, model: str, response: dict[str, Any], advice: str, world: World, clients: list[AsyncTokenLedger]
) -> None:
    hold = await clients[0].reserve(user="eve", provider=provider, model=model, **FULL)
    with pytest.raises(UsageMissing) as missing:
        await hold.settle(response)
    assert advice in str(missing.value)
    assert await world.rows("select 1 from usage_events where user_id = 'eve'") == []
    await hold.release()


async def test_a_stream_is_not_settled_before_every_choice_has_ended(clients: list[AsyncTokenLedger]) -> None:
    for name in ("an empty finish reason", "two answers with running usage"):
        [case] = [case for case in CASES if case.get("name") == name]
        for end in range(1, len(case["events"])):
            hold = await clients[0].reserve(user="eve", provider=case["provider"], model=case["model"], **FULL)
            with pytest.raises(UsageMissing):
                await hold.settle(stream_of(case["events"][:end]))
            await hold.release()
