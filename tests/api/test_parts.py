"""A call that is settled in parts over HTTP costs what it costs as a whole, and can be taken back."""

from decimal import Decimal
from typing import Any

from tests.api.verbs import reservation
from tests.api.world import World, fresh
from token_ledger.proof.verify import verify_database

WHOLE = {"input_tokens": 240_000, "output_tokens": 1_000, "web_searches": 2}
PARTS = (
    {"input_tokens": 120_000, "output_tokens": 0, "web_searches": 1},
    {"input_tokens": 120_000, "output_tokens": 400},
    {"input_tokens": 0, "output_tokens": 600, "web_searches": 1},
)


async def _settled(world: World, key: str, *parts: dict[str, int]) -> list[dict[str, Any]]:
    model = {"provider": "anthropic", "model": "claude-sonnet-4-5", "input_tokens": 240_000}
    held = await world.made("/v1/reservations", reservation(idempotency_key=key, **model))
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    answers = []
    for number, usage in enumerate(parts, start=1):
        body = {"usage": usage, "idempotency_key": f"{key}-{number}", "part": number < len(parts)}
        answers.append(await world.made(path, body))
    return answers


async def test_a_call_of_two_tiers_costs_the_same_in_parts(world: World) -> None:
    key = fresh("call")
    in_parts = await _settled(world, key, *PARTS)
    assert [part["cost"] for part in in_parts] == ["0.370000000", "1.089000000", "0.023500000"]
    [whole] = await _settled(world, fresh("call"), WHOLE)
    assert whole["cost"] == "1.482500000", "1.4625 and two searches"
    assert sum(Decimal(part["cost"]) for part in in_parts) == Decimal(whole["cost"])
    taken = await world.made("/v1/reversals", {"key": key, "reason": "a test"})
    assert (taken["calls"], taken["cost"]) == (-1, "-1.482500000")
    report = await verify_database(world.url, "acme")
    assert report.clean, report.as_text()
