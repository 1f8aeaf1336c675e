"""Whoever sends whatever the document describes: never a 5xx, and every answer as documented.

`make test` sends some of each caller. `make fuzz` sends 5,000 in chains, and as many with the command of schemathesis,
which also tries the borders of every schema, and prints how many were answered how.
"""

import asyncio
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.api.conftest import world_of_its_own
from tests.api.routes import ALLOWED
from tests.api.test_people import Provider
from tests.api.world import PEPPER, World, fresh
from tests.faults.conftest import service_processes
from tests.faults.processes import COMMAND
from tests.fuzz.callers import NAMES, Caller, caller_named
from tests.fuzz.chains import SECONDS, STREAMS, Answers, send_chains
from token_ledger.core.model.principal import Role

SEED = 20261129
FEW, MANY = 60, 5_000
COMMAND_SECONDS = 3_000
"""The longest time that the command of schemathesis may take, on a busy machine."""
EXAMPLES = 20
"""How many cases the command generates for an operation, besides those at the borders of its schema."""
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "use_after_free",
)  # fmt: skip
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.close()


@pytest.fixture(scope="module")
async def world(server_url: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """What makes tenants, and keys that are good for the service at `url` too."""
    directory, networks = tmp_path_factory.mktemp("world"), "127.0.0.0/8"
    async with world_of_its_own(server_url, worker_id, directory, identity_provider_networks=networks) as opened:
        yield opened


@pytest.fixture(scope="module")
async def url(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a service as it is run; it may log no unexpected error."""
    given = {"key_pepper": PEPPER, "environment": "test", "identity_provider_networks": "127.0.0.0/8"}
    with service_processes(tmp_path_factory.mktemp("service")) as start:
        service = start(world.url, **given)
        await service.ready()
        yield service.url


class Onlooker:
    """Keeps a caller able to go on: their own key is not ended, and a stop is lifted at once."""

    def __init__(self, url: str, world: World, caller: Caller) -> None:
        self._url = url
        self._caller = caller
        self._operator_key = world.headers("operator", Role.OPERATOR)

    def before(self, case: Any) -> None:
        """Let a request that names the caller's own key name another one."""
        if self._caller.key_id is not None and (case.path_parameters or {}).get("key_id") == self._caller.key_id:
            case.path_parameters = {"key_id": "another"}

    def after(self, case: Any, response: Any) -> None:
        """Lift a stop: all that comes after it would only be refused."""
        if response.status_code != 200 or not case.path.endswith("/stop") or case.method != "POST":
            return
        # By the operator, because an administrator may revoke every key of the tenant.
        tenant_id = (case.path_parameters or {}).get("tenant_id", self._caller.known["tenant_id"])
        path, body = f"/v1/tenants/{tenant_id}/resume", {"idempotency_key": f"lift {next(_numbers)}"}
        lifted = requests.post(self._url + path, json=body, headers=self._operator_key, timeout=SECONDS)
        assert lifted.status_code == 200, lifted.text


async def _chains(name: str, url: str, world: World, provider: Provider, cases: int) -> tuple[Caller, Answers]:
    caller = await caller_named(name, world, provider, fresh(name.replace(" ", "-")))
    number = SEED + 1_000 * NAMES.index(name)  # another one for each, so that few requests reach other operations
    onlooker = Onlooker(url, world, caller)
    answers = await asyncio.to_thread(
        send_chains, url, caller.headers, caller.known, cases=cases, number=number, before=onlooker.before,
        after=onlooker.after,
    )  # fmt: skip
    assert answers.wrong == [], f"seed {number}\n" + "\n\n".join(answers.wrong)
    return caller, answers


@pytest.mark.parametrize("name", NAMES)
async def test_chains_of_requests_are_answered_as_documented(
    name: str, url: str, world: World, provider: Provider
) -> None:
    caller, answers = await _chains(name, url, world, provider, FEW)
    assert answers.cases >= FEW
    if caller.role is None:
        assert set(answers.by_status()) <= {200, 401, 405}  # the health of the process needs no key
        assert answers.accepted() <= {"GET /healthz", "GET /readyz"}
    else:
        assert 401 not in answers.by_status()


@pytest.mark.fuzz
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", NAMES)
async def test_many_chains_of_requests_are_answered_as_documented(
    name: str, url: str, world: World, provider: Provider
) -> None:
    caller, answers = await _chains(name, url, world, provider, MANY)
    linked = answers.by_link.total()
    print(
        f"\n{name}: {answers.cases} requests in chains,"
        f" {linked} accepted by a link to {len(answers.by_link)} operations: {answers.by_status()}"
    )
    allowed = {f"{method} {path}" for (method, path), roles in ALLOWED.items() if caller.role in roles}
    missed = allowed - answers.accepted() - {"GET /v1/live", "GET /v1/runs/{run_id}/events"}
    print(f"{name}: never accepted: {sorted(missed)}")
    # Otherwise the chains reach nothing but refusals.
    assert len(missed) * 2 <= len(allowed)
    assert linked > 0 or not allowed


@pytest.mark.fuzz
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", NAMES)
async def test_the_command_of_schemathesis_finds_nothing(
    name: str, url: str, world: World, provider: Provider, tmp_path: Path
) -> None:
    caller = await caller_named(name, world, provider, fresh(name.replace(" ", "-")))
    report = tmp_path / "report.json"
    headers = [part for each in caller.headers.items() for part in ("-H", ": ".join(each))]
    command = [
        str(COMMAND.with_name("st")), "run", f"{url}/openapi.json", *headers, "--exclude-path-regex", STREAMS,
        "--exclude-path", "/v1/stop", "--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES),
        "--seed", str(SEED), "--continue-on-failure", "--no-color", "--generation-with-security-parameters", "false",
        "--report", "json", "--report-json-path", str(report), "--generation-database", "none",
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout[-20_000:]}\n{done.stderr[-2_000:]}"
    found = json.loads(report.read_text())
    cases = found["test_cases"]["generated"]
    print(f"\n{name}: {cases} requests by the command")
    assert {phase: told["status"] for phase, told in found["phases"].items()} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), "success"
    )
    assert cases >= MANY
