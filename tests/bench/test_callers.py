"""The measured process does what it says: its calls fall on that many accounts, and leave books that verify."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.bench.shapes import SIX_ACCOUNTS, Shape, filling
from tests.bench.traffic import AGENT_TYPES, MODELS, USERS, caller
from token_ledger.analytics.verify import verify_database

TWO_TENANTS = Shape("two_tenants", 2, SIX_ACCOUNTS.budgets)


def run_callers(url: str, *, tenants: int, accounts: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "tests.bench.callers", "--url", url, "--tenants", str(tenants), "--callers", "3",
            "--accounts", str(accounts), "--warm-up-seconds", "0", "--seconds", "0.3",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip


async def test_the_measured_calls_are_booked_and_verify(database_url: str) -> None:
    await filling(TWO_TENANTS)(database_url)
    done = run_callers(database_url, tenants=2, accounts=6)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    proof = await verify_database(database_url, None)
    assert proof.clean, proof.as_text()
    # An event is two operations; those after the time was up are booked and not counted.
    assert 0 < report["operations"] <= 2 * proof.events
    assert report["seconds"] > 0


@pytest.mark.parametrize(
    ("tenants", "accounts", "said"),
    [(2, 5, "a reserve on 5 accounts was answered Granted"), (3, 6, "the database has 2 tenants, not 3")],
)
async def test_a_shape_other_than_stated_fails(database_url: str, tenants: int, accounts: int, said: str) -> None:
    await filling(TWO_TENANTS)(database_url)
    done = run_callers(database_url, tenants=tenants, accounts=accounts)
    assert done.returncode == 1
    assert said in done.stderr


def test_callers_spread_evenly_over_the_mix() -> None:
    combinations = USERS * AGENT_TYPES * len(MODELS)
    assert set(Counter(caller(number) for number in range(2 * combinations)).values()) == {2}
