"""Books calls of which a price has no rate: by what their hold was priced at, by what stands in, and in every way."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.proof.ledger import HOLD, Ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.usage import Usage
from token_ledger.storage.prices import check_rates

USER = "nina"
PLAIN = {"input": "2", "output": "4"}
STAND_IN = {"input": "15", "output": "75", "web_searches": "10", "images": "5", "audio_seconds": "3.6"}
_SEARCHED = {"web_searches": 2, "images": 1}


async def assume_rates(ledger: Ledger) -> None:
    """Make such calls, on holds and leases and without; then another price stands in, and at last none."""
    discount = administration.SetDiscount("k", b"x", "openai", "gpt-5.2", 500_000_000, "root")
    await ledger.ask(discount, outcomes.Changed)
    await _set_price(ledger, "plain", PLAIN, tier={**PLAIN, "web_searches": "3"})
    await _set_price(ledger, "searcher", {**PLAIN, "web_searches": "10"}, tier=PLAIN)
    await _set_price(ledger, "ear", {"audio_seconds": "0.36"})
    await ledger.settle(await _hold(ledger, "plain"), 100, 10, others=_SEARCHED)  # nothing stands in
    await _set_price(ledger, "*", STAND_IN, provider="*")
    for model in ("plain", "searcher", "gpt-5.2", "unheard of"):
        await ledger.settle(await _hold(ledger, model), 100, 10, others=_SEARCHED, model="plain")
        await ledger.settle(await _hold(ledger, model), 100, 10, others=_SEARCHED, model="ear")
        await ledger.settle(await _hold(ledger, model), 100, 10, others=_SEARCHED, model="nobody knows it")
        if model != "gpt-5.2":  # whose rates of a batch have a date, which tests do not move
            await ledger.settle(await _hold(ledger, model), 100, 10, others=_SEARCHED, service_tier="batch")
    for model in ("plain", "searcher", "ear", "unheard of"):
        await _record(ledger, model, {**_SEARCHED, "audio_seconds": 60})
    await _settle_parts(ledger)
    await _announce(ledger)
    inner = commands.OtherModel("openai", "plain", Usage(70, 7, others=others_of(_SEARCHED)))
    await ledger.settle(await _hold(ledger, "searcher"), 300, 30, other_models=(inner,))
    # It is the same but for its date: what was assumed before was not assumed by it.
    await _set_price(ledger, "*", {**STAND_IN, "pages": "1"}, provider="*")
    await _record(ledger, "plain", _SEARCHED)
    await _set_price(ledger, "*", None, provider="*")
    await _record(ledger, "plain", _SEARCHED)


async def _settle_parts(ledger: Ledger) -> None:
    """Book calls in parts: of one rate, of a way of serving that is said last, of two models, and one that goes on."""
    for last in ({}, {"service_tier": "batch"}, {"model": "searcher"}):
        held = await _hold(ledger, "plain")
        await ledger.settle(held, 50, 5, others=_SEARCHED, part=True)
        await ledger.settle(held, 50, 5, part=True)
        await ledger.settle(held, 0, 5, others={"web_searches": 1}, **last)
    held = await _hold(ledger, "plain")
    await ledger.settle(held, 50, 5, others=_SEARCHED, part=True)
    await ledger.settle(held, 50, 5, others={"web_searches": 1}, part=True, service_tier="batch")


async def _announce(ledger: Ledger) -> None:
    """Announce kinds that the price lacks, on a hold that is settled, on one that stays, and on a lease."""
    most = others_of({"images": 3, "web_searches": 5})
    held = await _hold(ledger, "plain", max_usage=most)
    await ledger.settle(held, 100, 10, others={"images": 3})
    await _hold(ledger, "searcher", max_usage=most, service_tier="batch")
    fields = {**HOLD, "model": "plain", "user": USER, "max_usage": most}
    lent = await ledger.ask(commands.Lease("k", b"x", **fields, calls=2), outcomes.Granted)
    await ledger.settle(lent.reservation.reservation_id, 100, 10, others={"images": 3}, part=True)


async def _hold(ledger: Ledger, model: str, **fields: Any) -> int:
    return await ledger.hold(model=model, user=USER, **fields)


async def _record(ledger: Ledger, model: str, others: dict[str, int]) -> None:
    usage = Usage(100, 10, others=others_of(others))
    event = commands.Record("k", b"x", "batch", "data", "openai", model, usage, user=USER)
    await ledger.ask(event, outcomes.Recorded)


async def _set_price(
    ledger: Ledger, model: str, base: dict[str, str] | None, *, provider: str = "openai",
    tier: dict[str, str] | None = None,
) -> None:  # fmt: skip
    rates: dict[str, Any] | None = None if base is None else {"base": base}
    if rates is not None and tier is not None:
        rates["service_tiers"] = {"batch": [{"base": tier}]}
    price = None if rates is None else check_rates(rates)
    since = None if provider == "*" else datetime.now(UTC) - timedelta(hours=2)  # re-costed by one from an hour ago
    command = administration.SetPrice("k", b"x", provider, model, rates, price, "root", since)
    await ledger.ask(command, outcomes.Changed)
