"""The audit of dependencies, against a database of vulnerabilities on this machine."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.audit import PINS, ROOT

SECONDS = 120
"""The longest time that an audit of two packages may take, on a busy machine."""


class VulnerabilityDatabase:
    """Answers in the protocol of osv.dev what a test says, by the name of a package."""

    def __init__(self) -> None:
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = question["package"]["name"]
                outer.asked.append((name, question["version"]))
                content = json.dumps({"vulns": outer.known[name]} if name in outer.known else {}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/query"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def database() -> Iterator[VulnerabilityDatabase]:
    running = VulnerabilityDatabase()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """Pins of two packages, one of them for another system only."""
    path = tmp_path / "pins.txt"
    digest = "0" * 64
    path.write_text(
        f"anyio==4.9.0 \\\n    --hash=sha256:{digest}\nidna==3.10 \\\n    --hash=sha256:{digest}\n"
        f"pywin32==311 ; sys_platform == 'win32' \\\n    --hash=sha256:{digest}\n"
    )
    return path


def audit(*arguments: object) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.packaging.audit", *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def vulnerable(fixed: str | None) -> dict[str, Any]:
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    affected = {"package": {"name": "idna", "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": "GHSA-made-up-0001", "summary": "a fault", "affected": [affected]}


def test_without_a_known_vulnerability_it_passes(database: VulnerabilityDatabase, pins: Path) -> None:
    assert audit("--database", database.url, pins) == (0, ["dependencies: no known vulnerability"])
    assert sorted(database.asked) == [("anyio", "4.9.0"), ("idna", "3.10")]


@pytest.mark.parametrize(
    ("fixed", "advice"),
    [("3.11", "upgrade to 3.11"), (None, "no fixed version is known; see whether it can be done without")],
)
def test_a_known_vulnerability_fails_with_what_to_do(
    fixed: str | None, advice: str, database: VulnerabilityDatabase, pins: Path
) -> None:
    database.known["idna"] = [vulnerable(fixed)]
    status, lines = audit("--database", database.url, pins)
    assert (status, lines[0]) == (1, f"dependencies: idna 3.10 is vulnerable, GHSA-made-up-0001: {advice}")
    assert lines[1].endswith("run `make pins`")


def _nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1/query"


@pytest.mark.parametrize("away", ["refuses", "has no name", "fails", "says nothing"])
def test_a_database_that_cannot_be_asked_is_told_in_one_line_and_passes(
    away: str, database: VulnerabilityDatabase, pins: Path
) -> None:
    database.status = 503
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = {
            "refuses": _nobody(),
            "has no name": "http://database.invalid/v1/query",
            "fails": database.url,
            "says nothing": f"http://127.0.0.1:{silent.getsockname()[1]}/v1/query",
        }[away]
        status, lines = audit("--database", url, pins)
    assert (status, len(lines)) == (0, 1)
    assert lines[0].startswith("dependencies: not audited, because the database of vulnerabilities can't be asked (")


@pytest.mark.parametrize("text", ["idna>=3 \\\n    --hash=sha256:" + "0" * 64, "idna==3.10", "idna==", ""])
def test_pins_that_cannot_be_audited_fail(text: str, database: VulnerabilityDatabase, tmp_path: Path) -> None:
    path = tmp_path / "pins.txt"
    path.write_text(text)
    status, [line] = audit("--database", database.url, path)
    assert (status, line.startswith("dependencies: pip-audit ")) == (1, True), line


def test_the_pins_of_the_project_are_audited(database: VulnerabilityDatabase) -> None:
    assert audit("--database", database.url) == (0, ["dependencies: no known vulnerability"])
    asked = dict(database.asked)
    assert {"fastapi", "asyncpg", "pytest", "uv"} <= set(asked)
    for path in PINS:
        pinned = [line.split("==")[0] for line in (ROOT / path).read_text().splitlines() if "==" in line]
        plain = [name for name in pinned if name and not name.startswith((" ", "#"))]
        assert len(set(plain) & set(asked)) > len(plain) * 0.8
