"""A flood of lists of reserves, and who is measured beside it: a quiet tenant, and the flooding key itself.

wrk sends the flood (see `flood.lua`); the others are slow enough for plain sockets in this process.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.rows import Failure
from tests.bench.wrk import wrk_program

LIST: Final = 256
"""Operations in a list of the flood."""
_SCRIPT: Final = Path(__file__).with_name("flood.lua")
_LINE = re.compile(r"^(seconds|granted|lists|refused|broken|other) (.*)$", re.MULTILINE)
_PAUSE_SECONDS: Final = 0.02
_REFUSED: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Flood:
    """What a flood achieved."""

    granted_per_second: float
    lists: int
    refused: int
    seconds: float

    @property
    def offered_per_second(self) -> float:
        """Operations in all lists that were answered."""
        return (self.lists + self.refused) * LIST / self.seconds


@dataclass(slots=True)
class Answers:
    """The answers to requests that were sent one at a time."""

    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        if status in _REFUSED:
            self.refused_seconds.append(seconds)
        elif 200 <= status < 300:
            self.seconds.append(seconds)
        else:
            raise Failure(f"a request beside the flood was answered {status}")


def percentile_ms(seconds: list[float], share: float) -> float:
    """Return the least time, in ms, that this share of the times do not exceed. Raises Failure if there is none."""
    if not seconds:
        raise Failure("nothing was answered beside the flood")
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1_000


def start_flood(
    base: str, key: str, *, connections: int, seconds: int, keys: str, lists_per_second: float = 0
) -> "subprocess.Popen[str]":
    """Start to send lists on so many connections, so many a second or 0 for as many as are answered.

    `keys` is a prefix of idempotency keys, new for the database.
    """
    command = [
        wrk_program(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
        "--timeout", "30s", "--script", str(_SCRIPT), base, "--", keys, key, str(LIST),
        f"{lists_per_second:.3f}",
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def flood_of(process: "subprocess.Popen[str]") -> Flood:
    """Wait for a flood. Raises Failure if anything was answered but with results or a refusal."""
    output, errors = process.communicate()
    found = dict(_LINE.findall(output))
    if process.returncode or not found:
        raise Failure(f"wrk ended with status {process.returncode}: {errors.strip() or output}")
    if found["other"] or int(found["broken"]):
        raise Failure(
            f"the flood had {found['broken']} broken requests, and was answered {found['other'] or 'as it may'}"
        )
    seconds = float(found["seconds"])
    return Flood(int(found["granted"]) / seconds, int(found["lists"]), int(found["refused"]), seconds)


async def call_quietly(base: str, key: str, seconds: float, keys: str) -> Answers:
    """Reserve and settle one call after another, with pauses; return the answers."""
    answers = Answers()
    async with _connected(base, key) as connection:
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until:
            number += 1
            status, body = await connection.post("/v1/reservations", _reserve(f"{keys}{number}"), answers)
            if status == 201:
                path = f"/v1/reservations/{body['reservation_id']}/settle"
                usage = {"input_tokens": 800, "output_tokens": 100}
                await connection.post(path, {"idempotency_key": f"{keys}{number}s", "usage": usage}, answers)
            await asyncio.sleep(_PAUSE_SECONDS)
    return answers


async def send_lists(base: str, key: str, seconds: float, keys: str) -> Answers:
    """Send lists like those of the flood one after another, with pauses; return the answers."""
    answers = Answers()
    async with _connected(base, key) as connection:
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until:
            number += 1
            operations = [{"op": "reserve", **_reserve(f"{keys}{number}-{each}")} for each in range(LIST)]
            await connection.post("/v1/operations", {"operations": operations}, answers)
            await asyncio.sleep(_PAUSE_SECONDS)
    return answers


def _reserve(key: str) -> dict[str, object]:
    return {
        "idempotency_key": key, "user": "ada", "agent_type": "agent", "provider": "openai", "model": "gpt-5.4",
        "input_tokens": 800, "max_output_tokens": 200,
    }  # fmt: skip


class _Connection:
    """An HTTP connection that is kept open."""

    def __init__(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._key = key
        self._reader = reader
        self._writer = writer

    async def post(self, path: str, body: dict[str, object], answers: Answers) -> tuple[int, Any]:
        """Send a body, count the answer, and return its status and body."""
        sent = json.dumps(body)
        request = (
            f"POST {path} HTTP/1.1\r\nHost: ledger\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n{sent}"
        ).encode()
        began = time.perf_counter()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = await self._reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        status = int(head.split()[1])
        answers.add(status, time.perf_counter() - began)
        return status, json.loads(content)


@contextlib.asynccontextmanager
async def _connected(base: str, key: str) -> Any:
    address = urlsplit(base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1_048_576)
    try:
        yield _Connection(key, reader, writer)
    finally:
        writer.transport.abort()
