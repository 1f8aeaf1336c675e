"""Calls the service as agents do: a request is repeated with the same idempotency key until it is answered."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2

from tests.faults.processes import ANSWER_SECONDS, PATIENCE_SECONDS, wait_until

MODEL = {"provider": "openai", "model": "gpt-5.4"}
INPUT_NANOS, OUTPUT_NANOS = 2_500, 15_000
"""The price of an input and an output token of MODEL."""


class Caller:
    """Sends requests to several processes in turn, with one API key, and counts how the attempts went."""

    def __init__(self, urls: Sequence[str], key: str, tenant: str = "") -> None:
        self.tenant = tenant
        self.key = key
        self._clients = [
            httpx2.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=ANSWER_SECONDS,
                # A connection is used again only long before the service closes it, which it does after 5 s.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=1),
            )
            for url in urls
        ]
        self._turns = itertools.cycle(range(len(urls)))
        self.unavailable: list[httpx2.Response] = []
        self.sent = 0
        self.halves = 0
        self.lost = 0
        self.replayed = 0

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def get(self, path: str) -> httpx2.Response:
        return await self.send("GET", path)

    async def send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send a request once, to the first process."""
        return await self._clients[0].request(method, path, json=body)

    async def live_events(self, after: int, seen: list[Any]) -> None:
        """Read the live stream until the service ends it; add each event to `seen` as it arrives."""
        async with self._clients[0].stream("GET", "/v1/live", params={"after": after}) as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                field, _, value = line.partition(": ")
                seen += [json.loads(value)] if field == "data" else []

    async def post(self, path: str, body: dict[str, Any], via: int | None = None) -> httpx2.Response:
        """Send once, to the process `via` or to the next one in turn."""
        client = self._clients[next(self._turns) if via is None else via]
        return await client.post(path, json=body, extensions={"trace": self._trace})

    async def post_in_halves(self, path: str, body: dict[str, Any], rest: asyncio.Event) -> httpx2.Response:
        """Send a request to the first process, the second half of its body once `rest` is set."""
        text = json.dumps(body).encode()

        async def halves() -> AsyncIterator[bytes]:
            yield text[:10]
            self.halves += 1
            await rest.wait()
            yield text[10:]

        headers = {"Content-Type": "application/json"}
        return await self._clients[0].post(path, content=halves(), headers=headers)

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        self.sent += event == "http11.send_request_body.complete"

    async def accepted(self, requests: int, halves: int = 0) -> None:
        """Wait until the first process has read so many requests, and halves; it reads them as they arrive."""

        async def are_sent() -> bool:
            return self.sent >= requests and self.halves >= halves

        await wait_until(are_sent, PATIENCE_SECONDS, f"{requests} requests are sent")
        for _ in range(2):
            assert (await self.get("/healthz")).status_code == 200

    async def insist(
        self, path: str, body: dict[str, Any], seconds: float = 3 * ANSWER_SECONDS, via: int | None = None
    ) -> httpx2.Response:
        """Send the same body until the answer is not 503."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = await self.post(path, body, via)
            except httpx2.ReadTimeout:
                raise AssertionError(f"{path} did not answer within {ANSWER_SECONDS} s") from None
            except httpx2.TransportError:
                self.lost += 1
            else:
                if answer.status_code != 503:
                    self.replayed += answer.json().get("replayed") is True
                    return answer
                self.unavailable.append(answer)
            assert time.monotonic() < deadline, f"{path} was not answered within {seconds} s"
            await asyncio.sleep(0.1)

    async def open_budget(self, name: str, **limits: Any) -> str:
        """Make a hard budget with one account per agent type of the user `name`; return its id."""
        body = {"name": name, "selector": {"user": name, "agent_type": "*"}, "limits": limits, "window": "total"}
        answer = await self.post("/v1/budgets", {"idempotency_key": f"budget:{name}", **body})
        assert answer.status_code == 201, answer.text
        budget_id: str = answer.json()["budget_id"]
        return budget_id


def reservation(key: str, *, user: str, **more: Any) -> dict[str, Any]:
    """Return the body of a reserve of 1,000 input and 500 output tokens."""
    body = {"idempotency_key": key, "user": user, "agent_type": "data_agent", **MODEL}
    return body | {"input_tokens": 1_000, "max_output_tokens": 500} | more


def settlement(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """Return the body of a settle; it needs no key, because the reservation's serves as one."""
    return {"usage": {"input_tokens": input_tokens, "output_tokens": output_tokens}}


def cost_nanos(input_tokens: int, output_tokens: int) -> int:
    """Return the cost of a call, computed independently of the service."""
    return input_tokens * INPUT_NANOS + output_tokens * OUTPUT_NANOS


def money(nanos: int) -> str:
    """Return nano-dollars as the API writes them."""
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"
