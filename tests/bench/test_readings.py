"""Reading the output of wrk and pgbench: a single failed request or transaction fails the row."""

import pytest

from tests.bench.rows import Failure
from tests.bench.wrk import Load, read_wrk
from tests.bench.yardsticks import read_pgbench

WRK = """Running 3s test @ http://127.0.0.1:8080
Requests/sec:   2000.00
seconds 2.000000
accepted 4000
refused 0
broken 0
p99_ms 12.500
refusal \n"""
PGBENCH = """number of transactions actually processed: 24000
number of failed transactions: 0 (0.000%)
initial connection time = 50.000 ms
tps = 8000.500000 (without initial connection time)
"""


def test_a_clean_run_of_wrk_is_read() -> None:
    assert read_wrk(WRK) == Load(requests_per_second=2000, p99_ms=12.5)


@pytest.mark.parametrize(
    ("change", "into", "said"),
    [
        ("refused 0", "refused 1", "1 requests were refused"),
        ("broken 0", "broken 2", "2 broken"),
        ("refused 0\nbroken 0\np99_ms 12.500\nrefusal ", "refused 3\nbroken 0\np99_ms 1\nrefusal 402 no", "402 no"),
        ("accepted 4000", "accepted 0", "no request was answered"),
        ("accepted 4000\n", "", "did not report 'accepted'"),
        ("p99_ms 12.500\n", "", "did not report 'p99_ms'"),
        ("refused 0\n", "", "did not report 'refused'"),
    ],
)
def test_a_run_of_wrk_with_anything_but_successes_fails(change: str, into: str, said: str) -> None:
    assert change in WRK
    with pytest.raises(Failure, match=said):
        read_wrk(WRK.replace(change, into))


def test_a_clean_run_of_pgbench_is_read() -> None:
    assert read_pgbench(PGBENCH) == 8000.5


@pytest.mark.parametrize(
    ("change", "into"),
    [
        ("failed transactions: 0 ", "failed transactions: 1 "),
        ("failed transactions: 0 ", "failed transactions: 10 "),
        ("tps = 8000.500000", "tps = "),
        ("tps = 8000.500000 (without initial connection time)\n", ""),
    ],
)
def test_a_run_of_pgbench_that_failed_fails(change: str, into: str) -> None:
    assert change in PGBENCH
    with pytest.raises(Failure, match="pgbench failed"):
        read_pgbench(PGBENCH.replace(change, into))
