"""Loads an HTTP server with wrk, a load generator in C that leaves most of two cores to the server."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.rows import Failure

CONNECTIONS: Final = 64
_SCRIPT: Final = Path(__file__).with_name("load.lua")
_LINE = re.compile(r"^(seconds|accepted|refused|broken|p99_ms|refusal) (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one run of wrk in which every request succeeded."""

    requests_per_second: float
    p99_ms: float


def drive(url: str, *, what: str, keys: str, api_key: str, seconds: int, connections: int = CONNECTIONS) -> Load:
    """Load a server. `keys` is a prefix of idempotency keys, new for its database. Raises Failure at any refusal."""
    command = [
        wrk_program(), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
        "--timeout", "10s", "--script", str(_SCRIPT), url, "--", keys, api_key, what,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"wrk ended with status {done.returncode}: {done.stderr.strip()}")
    return read_wrk(done.stdout)


def read_wrk(output: str) -> Load:
    """Read what `load.lua` printed. Raises Failure unless every request was answered with 2xx."""
    found = dict(_LINE.findall(output))
    try:
        accepted, refused, broken = (int(found[name]) for name in ("accepted", "refused", "broken"))
        seconds, p99_ms = float(found["seconds"]), float(found["p99_ms"])
    except KeyError as missing:
        raise Failure(f"wrk did not report {missing}: {output}") from None
    if refused or broken:
        first = found.get("refusal") or "nothing"
        raise Failure(f"{refused} requests were refused and {broken} broken, {accepted} accepted; first: {first}")
    if not accepted:
        raise Failure("no request was answered")
    return Load(accepted / seconds, p99_ms)


def wrk_program() -> str:
    """Return the path of wrk; install Debian's package if this process may."""
    found = shutil.which("wrk")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        if not _apt_get("install", "-y", "wrk"):
            _apt_get("update")
            _apt_get("install", "-y", "wrk")
        found = shutil.which("wrk")
    if found is None:
        raise Failure("the HTTP rows need wrk, which is not installed: run `apt-get install -y wrk` as root")
    return found


def _apt_get(*arguments: str) -> bool:
    return subprocess.run(["apt-get", "-qq", *arguments], capture_output=True).returncode == 0
