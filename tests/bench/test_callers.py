"""The measured process: its calls are booked on the stated number of accounts, and the books verify."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.bench.shapes import SIX_ACCOUNTS, Shape, filling
from tests.bench.traffic import AGENT_TYPES, MODELS, USERS, caller
from token_ledger.proof.verify import verify_database

TWO_TENANTS = Shape("two_tenants", 2, SIX_ACCOUNTS.budgets)


def run_callers(
    url: str, *, tenants: int, accounts: int, seconds: int = 2, keys: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "tests.bench.callers", "--url", url, "--tenants", str(tenants), "--callers", "3",
            "--accounts", str(accounts), "--warm-up-seconds", "0", "--seconds", str(seconds),
            "--keys", keys,
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip


async def test_the_measured_calls_are_booked_and_verify(database_url: str) -> None:
    await filling(TWO_TENANTS)(database_url)
    # What a slow machine may not do in two seconds it does in more.
    for seconds in (2, 10, 60):
        done = run_callers(database_url, tenants=2, accounts=6, seconds=seconds, keys=f"{seconds}-")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        if report["operations"]:
            break
    proof = await verify_database(database_url, None)
    assert proof.clean, proof.as_text()
    # Each event stands for two operations; those after the measured time are booked but not counted.
    assert 0 < report["operations"] <= 2 * proof.events
    assert report["seconds"] > 0


@pytest.mark.parametrize(
    ("tenants", "accounts", "said"),
    [(2, 5, "expected a reserve granted on 5 accounts, got Granted"), (3, 6, "the database has 2 tenants, not 3")],
)
async def test_a_database_of_another_shape_fails(database_url: str, tenants: int, accounts: int, said: str) -> None:
    await filling(TWO_TENANTS)(database_url)
    done = run_callers(database_url, tenants=tenants, accounts=accounts)
    assert done.returncode == 1
    assert said in done.stderr


def test_callers_spread_evenly_over_the_mix() -> None:
    combinations = USERS * AGENT_TYPES * len(MODELS)
    assert set(Counter(caller(number) for number in range(2 * combinations)).values()) == {2}
