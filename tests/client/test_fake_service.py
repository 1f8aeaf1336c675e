"""The SDK's fake service answers as the real one: one script, sent to both, and every answer compared."""

import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from token_ledger_sdk.testing import FakeService, ModelPrice

from tests.api.world import World, open_world
from tests.client.conftest import Network
from token_ledger.core.model.principal import Role

RATES = {"input": "2.5", "output": "15", "cache_read": "0.2505", "web_searches": "10"}
"""A token from the cache costs half a nano-dollar beside whole ones, so that rounding shows."""
FACTS: Any = {"context_tokens": 200_000, "max_output_tokens": 8_000, "capabilities": ("tools", "vision")}
LIMITED: Any = {"name": "cap", "selector": {"user": "ada"}, "limits": {"tokens": 10_000}}
PER_AGENT: Any = {
    "name": "agents",
    "selector": {"user": "*", "agent_type": "*"},
    "limits": {"cost": "0.05", "calls": 4},
}
SOFT: Any = {"name": "soft", "selector": {"tag.team": "core"}, "limits": {"tokens": 1_000}, "enforcement": "soft"}


@dataclass
class Service:
    """One of the two services, and all that it answered."""

    client: httpx2.AsyncClient
    expire: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    answers: list[tuple[int, Any]] = field(default_factory=list)
    _keys: int = 0

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and keep the answer."""
        if body is None:
            answer = await self.client.get(path)
        else:
            answer = await self.client.post(path, json=body)
        self.answers.append((answer.status_code, answer.json()))
        found: dict[str, Any] = answer.json()
        return found

    def key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    async def reserve(self, **fields: Any) -> str:
        """Reserve, and return the id of the hold, if it was given."""
        return str((await self.ask("/v1/reservations", self.call(**fields))).get("reservation_id"))

    async def settle(self, hold: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(f"/v1/reservations/{hold}/settle", {"usage": USAGE, **fields})

    def call(self, **fields: Any) -> dict[str, Any]:
        body = {
            "idempotency_key": self.key(), "user": "ada", "agent_type": "data", "provider": "acme", "model": "large",
            "input_tokens": 1_000, "max_output_tokens": 500, **fields,
        }  # fmt: skip
        return {name: value for name, value in body.items() if value is not None}


USAGE = {"input_tokens": 900, "output_tokens": 301, "cache_read_tokens": 100, "reasoning_tokens": 40}


async def holds(on: Service) -> None:
    first = await on.reserve(tags={"team": "core"}, max_usage={"web_searches": 2, "images": 1}, cached_input_tokens=100)
    await on.settle(first)
    await on.settle(first)  # a second one is a contradiction
    await on.settle(first, idempotency_key="other")
    second = await on.reserve(request_type="plan", tool="search", cost_center="lab")
    await on.ask(f"/v1/reservations/{second}/extend", {"idempotency_key": on.key(), "ttl_seconds": 900})
    await on.ask(f"/v1/reservations/{second}/release", {"reason": "the provider answered 429"})
    await on.ask(f"/v1/reservations/{second}/release", {})
    await on.settle(second)
    await on.ask(f"/v1/reservations/{second}/extend", {"idempotency_key": on.key(), "ttl_seconds": 900})
    third = await on.reserve()
    await on.settle(third, usage={"input_tokens": 1_200, "output_tokens": 600, "web_searches": 3}, model="small",
                    outcome="error", estimated=True, measured={"latency_ms": 5})  # fmt: skip
    await on.settle("1")
    await on.ask("/v1/reservations/1/release", {})
    await on.reserve(model="nobody-knows")


async def denials(on: Service) -> None:
    await on.reserve(max_output_tokens=9_500)
    body = on.call(max_output_tokens=9_001)
    for _ in range(2):
        await on.ask("/v1/reservations", body)
    hold = await on.reserve(input_tokens=8_000, max_output_tokens=1_500)
    await on.reserve(max_output_tokens=10)
    await on.ask(f"/v1/reservations/{hold}/release", {"idempotency_key": on.key()})
    for agent_type in ("data", "plan"):
        for _ in range(5):
            await on.reserve(user="bob", agent_type=agent_type, input_tokens=200, max_output_tokens=700)


async def repetitions(on: Service) -> None:
    body = on.call()
    first = (await on.ask("/v1/reservations", body))["reservation_id"]
    await on.ask("/v1/reservations", body)
    await on.ask("/v1/reservations", {**body, "input_tokens": 7})
    await on.settle(first, response_id="r1", idempotency_key="s1")
    await on.settle(first, response_id="r1", idempotency_key="s1")
    await on.ask("/v1/reservations", body)
    again = await on.reserve()
    await on.settle(again, response_id="r1")
    other = await on.reserve()
    await on.settle(other, response_id="r1", usage={"input_tokens": 5, "output_tokens": 5})


async def parts(on: Service) -> None:
    hold = await on.reserve()
    for output in (100, 150):
        part = {"input_tokens": 400, "output_tokens": output}
        await on.settle(hold, usage=part, part=True, idempotency_key=on.key())
    await on.ask("/v1/reservations", on.call(max_output_tokens=8_000))
    await on.settle(hold, usage={"input_tokens": 100, "output_tokens": 40})
    await on.ask("/v1/reservations", on.call(max_output_tokens=8_000))


async def clamped(on: Service) -> None:
    hold = await on.reserve()
    await on.settle(
        hold, usage={"input_tokens": 100, "output_tokens": 5, "cache_read_tokens": 120, "reasoning_tokens": 9}
    )


async def leases(on: Service) -> None:
    for calls, output in ((2, 500), (50, 500), (5, 6_000), (1, 500)):
        await on.ask("/v1/leases", on.call(calls=calls, max_output_tokens=output))
    lease = (await on.ask("/v1/leases", on.call(calls=3, user="bob", max_usage={"web_searches": 1})))["lease_id"]
    draws = [{"op": "settle", "reservation_id": lease, "idempotency_key": on.key(), "part": True, "usage": USAGE}
             for _ in range(2)]  # fmt: skip
    await on.ask("/v1/operations", {"operations": draws})
    await on.ask(f"/v1/reservations/{lease}/release", {"reason": "done"})


async def runs(on: Service) -> None:
    body = {"idempotency_key": on.key(), "user": "ada", "external_id": "thread-1", "limits": {"tokens": 6_000},
            "allocation": [{"agent_type": "data", "weight": 2, "minimum_tokens": 10},
                           {"agent_type": "plan", "weight": 1}], "iterations": 2, "strict": True}  # fmt: skip
    run = (await on.ask("/v1/runs", body))["run_id"]
    await on.ask("/v1/runs", body)
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "ada", "external_id": "thread-1", "attach": True})
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "bob", "external_id": "thread-1", "attach": True})
    hold = await on.reserve(user=None, run_id=run)
    await on.reserve(user=None, run_id=run, max_output_tokens=3_000)
    await on.reserve(user=None, run_id=run, agent_type="other")
    for _ in range(3):
        await on.ask(f"/v1/runs/{run}/steps", {"idempotency_key": on.key(), "label": "plan"})
    await on.ask(f"/v1/runs/{run}")
    part = {"idempotency_key": on.key(), "allocation": [{"agent_type": "plan", "weight": 1}]}
    await on.ask(f"/v1/runs/{run}/rebalance", part)
    sub = {"idempotency_key": on.key(), "parent_run_id": run, "limits": {"tokens": 1_000}}
    inner = (await on.ask("/v1/runs", sub))["run_id"]
    await on.reserve(user=None, run_id=inner, agent_type="data")
    await on.ask("/v1/runs", {**sub, "idempotency_key": on.key(), "parent_run_id": "7"})
    await on.ask(f"/v1/runs/{run}/cancel", {})
    await on.reserve(user=None, run_id=inner, agent_type="data", max_output_tokens=10)
    await on.reserve(user=None, run_id=run, max_output_tokens=10)
    await on.settle(hold)
    await on.ask(f"/v1/runs/{run}/close", {})
    await on.ask(f"/v1/runs/{run}")
    await on.ask("/v1/runs/7")
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "ada", "preset": "job"})
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "ada",
                              "allocation": [{"agent_type": "data", "weight": 1}]})  # fmt: skip
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "ada", "limits": {"tokens": 10},
                              "allocation": [{"agent_type": "data", "weight": 1, "minimum_tokens": 20}]})  # fmt: skip


async def preflights(on: Service) -> None:
    planned = [on.call(count=count, max_output_tokens=most) for count, most in ((2, 500), (9, 1_000), (1, 5))]
    for call in planned:
        del call["idempotency_key"]
    await on.ask("/v1/preflight", {"calls": planned})
    await on.ask("/v1/preflight", {"calls": planned[:1]})
    await on.ask("/v1/preflight", {"calls": [{**planned[0], "model": "nobody-knows"}]})
    await on.reserve()


async def events(on: Service) -> None:
    ours = {"source": "nightly", "user": "ada", "agent_type": "data"}
    model = {"provider": "acme", "model": "large", "usage": USAGE}
    reported = [
        {**ours, "idempotency_key": "1", **model, "response_id": "r1", "tags": {"team": "core"}},
        {**ours, "idempotency_key": "2", **model, "response_id": "r1"},
        {**ours, "idempotency_key": "3", "type": "tool_call", "tool": "search", "cost": "0.005", "outcome": "error"},
        {**ours, "idempotency_key": "4", "type": "tool_call", "tool": "summary", **model},
        {**ours, "idempotency_key": "5", "type": "tool_call", "tool": "free"},
        {**ours, "idempotency_key": "6", "type": "cache_hit", **model},
        {**ours, "idempotency_key": "7", "provider": "acme", "model": "nobody-knows", "usage": USAGE},
        {**ours, "idempotency_key": "8", "provider": "acme", "body": {
            "id": "r2", "model": "large", "usage": {"prompt_tokens": 20, "completion_tokens": 7}}},
    ]  # fmt: skip
    await on.ask("/v1/usage", {"events": reported})
    await on.ask("/v1/usage", {"events": reported})
    await on.reserve(max_output_tokens=8_000)


async def expiry(on: Service) -> None:
    hold = await on.reserve(ttl_seconds=60)
    await on.expire()
    await on.reserve(max_output_tokens=8_000)
    await on.ask(f"/v1/reservations/{hold}/release", {"reason": "late"})
    await on.settle(hold)


async def stops(on: Service) -> None:
    hold = await on.reserve()
    await on.stop()
    await on.reserve()
    await on.ask("/v1/runs", {"idempotency_key": on.key(), "user": "ada"})
    await on.settle(hold)


async def models(on: Service) -> None:
    for model in ("large", "small", "other"):
        await on.ask(f"/v1/models?provider=acme&model={model}")


class RandomScript:
    """What an agent might send, drawn from a seed; the draws are the same whatever is answered."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._holds: list[str] = []
        self._runs: list[str] = []

    async def __call__(self, on: Service) -> None:
        """Send 60 requests."""
        steps = (
            self._reserve,
            self._reserve,
            self._reserve,
            self._settle,
            self._settle,
            self._end,
            self._run,
            self._event,
        )
        for _ in range(60):
            await self._draw.choice(steps)(on)

    def _usage(self) -> dict[str, int]:
        draw = self._draw.randint
        usage = {"input_tokens": draw(0, 1_500), "output_tokens": draw(0, 700), "cache_read_tokens": draw(0, 900)}
        return {**usage, "reasoning_tokens": draw(0, 300), "web_searches": draw(0, 2)}

    async def _reserve(self, on: Service) -> None:
        draw = self._draw
        call: dict[str, Any] = {
            "model": draw.choice(("large", "small")), "agent_type": draw.choice(("data", "plan")),
            "input_tokens": draw.randint(0, 1_500), "max_output_tokens": draw.randint(0, 900),
            "tags": draw.choice(({}, {"team": "core"})), "user": draw.choice(("ada", "bob")),
        }  # fmt: skip
        call["cached_input_tokens"] = draw.randint(0, call["input_tokens"])
        run, number = draw.randint(0, 2), draw.randint(0, 99)
        if run == 0 and self._runs:
            call |= {"run_id": self._runs[number % len(self._runs)], "user": None}
        hold = await on.reserve(**call)
        if hold != "None":
            self._holds.append(hold)

    async def _settle(self, on: Service) -> None:
        usage, number, part = self._usage(), self._draw.randint(0, 99), self._draw.randint(0, 3) == 0
        model = self._draw.choice((None, None, "small"))
        if self._holds:
            more = {} if model is None else {"model": model}
            await on.settle(
                self._holds[number % len(self._holds)], usage=usage, part=part, idempotency_key=on.key(), **more
            )

    async def _end(self, on: Service) -> None:
        number, verb = self._draw.randint(0, 99), self._draw.choice(("release", "extend"))
        body = {"idempotency_key": on.key(), **({"ttl_seconds": 600} if verb == "extend" else {})}
        if self._holds:
            await on.ask(f"/v1/reservations/{self._holds[number % len(self._holds)]}/{verb}", body)

    async def _run(self, on: Service) -> None:
        draw, number = self._draw, self._draw.randint(0, 99)
        body: dict[str, Any] = {"idempotency_key": on.key(), "user": draw.choice(("ada", "bob"))}
        body["limits"] = {"tokens": draw.randint(1_000, 4_000), "calls": draw.randint(1, 5)}
        if draw.randint(0, 1):
            body["allocation"] = [{"agent_type": name, "weight": draw.randint(1, 5)} for name in ("data", "plan")]
        if draw.randint(0, 3) and len(self._runs) < 3:
            self._runs.append((await on.ask("/v1/runs", body))["run_id"])
        elif self._runs:
            await on.ask(f"/v1/runs/{self._runs[number % len(self._runs)]}")

    async def _event(self, on: Service) -> None:
        event: dict[str, Any] = {
            "source": "s",
            "idempotency_key": on.key(),
            "user": "ada",
            "agent_type": "data",
            "provider": "acme",
        }
        event |= {"model": self._draw.choice(("large", "small")), "tags": {"team": "core"}}
        await on.ask("/v1/usage", {"events": [{**event, "usage": self._usage()}]})


SCRIPTS = (holds, denials, repetitions, parts, clamped, leases, runs, preflights, events, expiry, stops, models)


async def real_service(world: World) -> Service:
    """Return a client of a real service with our budgets and prices."""
    for model in ("large", "small"):
        rates = {kind: str(Decimal(rate) / (1 if model == "large" else 2)) for kind, rate in RATES.items()}
        body = {"idempotency_key": model, "rates": {"base": rates}}
        await world.made(f"/v1/prices/acme/{model}", body, method="PUT")
    known = {**FACTS, "capabilities": [*FACTS["capabilities"]], "idempotency_key": "facts"}
    await world.made("/v1/models/acme/large", known, method="PUT")
    for each in (LIMITED, PER_AGENT, SOFT):
        await world.made("/v1/budgets", {"idempotency_key": each["name"], "window": "total", **each})

    async def expire() -> None:
        await world.owner.execute("update reservations set expires_at = now() - interval '1 second'")

    async def stop() -> None:
        await world.made("/v1/stop", {"idempotency_key": "stop", "reason": "a leak"})

    headers = {"Authorization": f"Bearer {world.keys['acme', Role.AGENT]}"}
    client = httpx2.AsyncClient(base_url="http://real.test", transport=Network(world), headers=headers)
    return Service(client, expire, stop)


def fake_service() -> Service:
    """Return a client of the fake one, set up alike."""
    fake = FakeService(only_priced=True)
    for model in ("large", "small"):
        rates: dict[str, Any] = {kind: Decimal(rate) / (1 if model == "large" else 2) for kind, rate in RATES.items()}
        others = {"web_searches": rates.pop("web_searches")}
        fake.price("acme", model, ModelPrice(**rates, others=others, **(FACTS if model == "large" else {})))
    for each in (LIMITED, PER_AGENT, SOFT):
        more = {name: value for name, value in each.items() if name == "enforcement"}
        fake.budget(each["name"], select=each["selector"], **each["limits"], **more)

    async def expire() -> None:
        fake.clock.advance(61)

    async def stop() -> None:
        fake.stop("a leak")

    return Service(httpx2.AsyncClient(base_url="http://fake.test", transport=fake.transport), expire, stop)


_PASSED_OVER = ("price_id", "assumed_price_id", "list_cost", "rates", "own", "factor")
"""What no code of the caller goes by, and what the fake one has no like of."""
_IDS = re.compile(r"\b\d{5,}\b")


def comparable(answers: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return answers with ids numbered in the order of their coming, and instants as what is known of them."""
    known: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return known.setdefault(found[0], f"<{len(known)}>")

    def plain(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: plain(each, key) for key, each in sorted(value.items()) if key not in _PASSED_OVER}
        if isinstance(value, list):
            return [plain(each, name) for each in value]
        if isinstance(value, str):
            # What gives an unknown model a price is a command there, and a method here.
            value = value.partition("; ")[0] if "no price is known" in value else value
            if name.endswith("_at") or name.startswith("window_"):
                return "an instant"
            is_text = name in ("detail", "message") or name.endswith(("_id", "_ids", "ancestors", "run"))
            return _IDS.sub(named, value) if is_text else value
        return value

    return [(status, plain(answer)) for status, answer in answers]


@pytest.fixture
async def real(database_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with open_world(database_url, tmp_path) as world:
        service = await real_service(world)
        yield service
        await service.client.aclose()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_both_services_answer_alike(script: Callable[[Service], Awaitable[None]], real: Service) -> None:
    fake = fake_service()
    await script(fake)
    await script(real)
    compare(fake, real)


@pytest.mark.parametrize("seed", range(6))
async def test_both_services_answer_alike_whatever_is_sent(seed: int, real: Service) -> None:
    fake = fake_service()
    await RandomScript(seed)(fake)
    await RandomScript(seed)(real)
    statuses = {status for status, _ in fake.answers}
    assert {200, 201, 402, 409} <= statuses
    compare(fake, real)


def compare(fake: Service, real: Service) -> None:
    """Compare all answers of two services."""
    pairs = [*zip(comparable(fake.answers), comparable(real.answers), strict=True)]
    for number, (ours, theirs) in enumerate(pairs):
        assert ours == theirs, f"answer {number}: {json.dumps(theirs)}"
