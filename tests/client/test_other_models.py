"""A response in which the provider called another model, such as an advisor, is one call with an event for each."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from token_ledger_sdk import AnthropicStreamUsage, Limits, Settlement, Unreachable, Usage

from tests.client.conftest import Client

# The figures of a real response: what the advisor used is not in its totals.
ADVISED: dict[str, Any] = {
    "type": "message",
    "id": "msg_advised",
    "model": "claude-sonnet-5",
    "usage": {
        "input_tokens": 2_390,
        "output_tokens": 121,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "iterations": [
            {"type": "message", "input_tokens": 1_100, "output_tokens": 60},
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_518, "output_tokens": 22},
            {"type": "message", "input_tokens": 1_290, "output_tokens": 61},
        ],
    },
}
CALL: dict[str, Any] = {
    "agent_type": "planner", "provider": "anthropic", "model": "claude-sonnet-5", "input_tokens": 2_400,
    "max_output_tokens": 200, "tags": {"team": "core"},
}  # fmt: skip
# 2,390 at $2 + 121 at $10, and 2,518 at $5 + 22 at $25, each for a million.
OWN, ADVICE, NOTHING = Decimal("0.005990000"), Decimal("0.013140000"), Decimal(0)


def with_id(identifier: str) -> dict[str, Any]:
    """Return the response under another id."""
    return {**copy.deepcopy(ADVISED), "id": identifier}


def check_costs(settled: Settlement) -> None:
    (advisor,) = settled.other_models
    assert (settled.cost, settled.tokens, settled.overrun) == (OWN, 2_511, False)
    assert (advisor.cost, advisor.tokens, advisor.model) == (ADVICE, 2_540, "claude-opus-4-8")
    assert settled.cost + advisor.cost == Decimal("0.01913")
    assert (advisor.unpriced, advisor.booked) == (False, True)


async def test_a_settle_books_an_event_for_each_model_and_one_call(client: Client) -> None:
    for model in ("claude-sonnet-5", "claude-opus-4-8"):
        terms = {"selector": {"model": model}, "limits": {"cost": "1"}, "window": "day"}
        await client.world.made("/v1/budgets", {"idempotency_key": model, "name": model, **terms})
    async with (
        client.ledger.run(
            user="ada", cost_center="research", limits=Limits(tokens=9_000), allocation={"planner": 1}
        ) as run,
        await run.reserve(**CALL, tool="search") as hold,
    ):
        settled = await hold.settle(ADVISED)
    check_costs(settled)
    own, advice = await client.booked()
    assert [own["calls"], advice["calls"]] == [1, 0]
    assert (own["reservation_id"], advice["reservation_id"]) == (int(hold.reservation_id), None)
    for name in ("run_id", "user_id", "cost_center", "agent_type", "tool", "tags", "response_id", "posted_at"):
        assert own[name] == advice[name], name
    assert [own["repetition"], advice["repetition"]] == ["first", "first"]
    accounts = (await client.world.get("/v1/accounts")).json()["accounts"]
    spent = {each["budget"]: each["balance"]["settled"] for each in accounts if each["budget"].startswith("claude")}
    assert spent["claude-sonnet-5"] == {"tokens": 2_511, "cost": "0.005990000", "calls": 1}
    assert spent["claude-opus-4-8"] == {"tokens": 2_540, "cost": "0.013140000", "calls": 0}
    report = (await client.world.get("/v1/reports/spend", group_by="model")).json()
    assert {row["by"]["model"]: (row["cost"], row["calls"]) for row in report["rows"]} == {
        "claude-opus-4-8": ("0.013140000", 0), "claude-sonnet-5": ("0.005990000", 1),
    }  # fmt: skip


async def test_a_lost_answer_is_given_again(client: Client) -> None:
    async with await client.ledger.reserve(user="ada", **CALL) as hold:
        client.network.answers_to_lose = 1
        with pytest.raises(Unreachable):
            await hold.settle(ADVISED)
        settled = await hold.settle(ADVISED)
    assert settled.replayed
    check_costs(settled)
    assert len(await client.booked()) == 2


async def test_a_response_that_is_reported_twice_is_booked_once(client: Client) -> None:
    settled = []
    for _ in range(2):
        async with await client.ledger.reserve(user="ada", **CALL) as hold:
            settled.append(await hold.settle(ADVISED))
    first, second = settled
    check_costs(first)
    (advisor,) = second.other_models
    assert (second.booked, advisor.booked, second.cost, advisor.cost) == (False, False, NOTHING, NOTHING)
    assert (await client.booked())[3]["earlier_event_id"] == int(first.other_models[0].event_id)


async def test_an_advisor_of_the_same_model_is_no_repeat(client: Client) -> None:
    advised = with_id("msg_same")
    advised["usage"]["iterations"][1] |= {"model": "claude-sonnet-5", "input_tokens": 2_390, "output_tokens": 121}
    costs = []
    for _ in range(2):
        async with await client.ledger.reserve(user="ada", **CALL) as hold:
            settled = await hold.settle(advised)
            costs.append([settled.cost, *(other.cost for other in settled.other_models)])
    assert costs == [[OWN, OWN], [NOTHING, NOTHING]]


async def test_a_stream_that_was_booked_in_parts_has_its_advisor_in_the_end(client: Client) -> None:
    stream = AnthropicStreamUsage()
    start = {**with_id("msg_streamed"), "usage": {"input_tokens": 1_100, "output_tokens": 1}}
    stream.add({"type": "message_start", "message": start})
    async with await client.ledger.reserve(user="ada", **CALL) as hold:
        partial = stream.partial()
        assert partial is not None
        part = await hold.settle_part(partial)
        stream.add({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ADVISED["usage"]})
        settled = await hold.settle(stream)
    assert part is not None
    assert part.cost + settled.cost == OWN
    assert [other.cost for other in settled.other_models] == [ADVICE]


async def test_calls_on_a_lease_book_their_advisors(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=4, **CALL) as leases:
        for number in range(2):
            async with await leases.reserve() as call:
                await call.settle(with_id(f"msg_{number}"))
    rows = [row for row in await client.booked() if row["cost_nanos"]]
    assert sorted((row["model"], row["cost_nanos"], row["calls"]) for row in rows) == [
        ("claude-opus-4-8", 13_140_000, 0), ("claude-opus-4-8", 13_140_000, 0),
        ("claude-sonnet-5", 5_990_000, 1), ("claude-sonnet-5", 5_990_000, 1),
    ]  # fmt: skip
    assert sum(row["calls"] for row in rows) == 2


async def test_reversing_the_call_takes_its_advisor_back(client: Client) -> None:
    keys = {}
    for number, whole_hold in enumerate((False, True)):
        async with await client.ledger.reserve(user="ada", **CALL, idempotency_key=f"held-{number}") as hold:
            await hold.settle(with_id(f"msg_{number}"))
        keys[whole_hold] = f"held-{number}" if whole_hold else f"settle:{hold.reservation_id}"
    for key in keys.values():
        answer = await client.world.made("/v1/reversals", {"key": key, "reason": "a test"})
        assert (answer["calls"], answer["tokens"], answer["cost"]) == (-1, -5_051, "-0.019130000")
    report = (await client.world.get("/v1/reports/spend", group_by="model")).json()
    assert {row["cost"] for row in report["rows"]} == {"0.000000000"}


async def test_an_advisor_without_a_price_costs_what_the_model_of_the_hold_does(client: Client) -> None:
    advised = with_id("msg_unknown")
    advised["usage"]["iterations"][1]["model"] = "claude-nobody-knows"
    async with await client.ledger.reserve(user="ada", **CALL) as hold:
        settled = await hold.settle(advised)
    (advisor,) = settled.other_models
    assert (settled.unpriced, advisor.unpriced, advisor.model) == (False, True, "claude-nobody-knows")
    assert advisor.cost == Decimal("0.005256")  # 2,518 at $2 + 22 at $10, for a million


async def test_whatever_an_advisor_is_called_it_is_booked(client: Client) -> None:
    advised = with_id("msg_unnamed")
    del advised["usage"]["iterations"][1]["model"]
    async with await client.ledger.reserve(user="ada", **CALL) as hold:
        settled = await hold.settle(advised)
    assert [(other.model, other.cost) for other in settled.other_models] == [("claude-sonnet-5", Decimal("0.005256"))]


async def test_what_can_not_be_booked_is_kept_with_its_advisor(client: Client) -> None:
    async with await client.ledger.reserve(user="ada", **CALL) as hold:
        await hold.settle(Usage(1, 1))
    other = {"model": "claude-opus-4-8", "usage": {"input_tokens": 5, "output_tokens": 1}}
    late = {"usage": {"input_tokens": 9, "output_tokens": 1}, "idempotency_key": "late", "other_models": [other]}
    answer = await client.world.post(f"/v1/reservations/{hold.reservation_id}/settle", late)
    assert answer.status_code == 409
    [kept] = (await client.world.get("/v1/quarantine")).json()["quarantine"]
    [kept_other] = kept["body"]["other_models"]
    assert (kept_other["model"], kept_other["usage"]["input_tokens"]) == ("claude-opus-4-8", 5)
