"""Files of administrators with extreme contents: each is read, or refused in one sentence that names it."""

from pathlib import Path

import pytest

from token_ledger.cli.setup_file import read_setup_file
from token_ledger.imports.users_csv import read_users

BUDGET = "tenants: [{{name: acme, budgets: [{{name: b, selector: {{}}, limits: {{tokens: {}}}, window: day}}]}}]"
SETUPS: dict[str, bytes] = {
    "deep lists": b"[" * 20_000,
    "deep objects": b"tenants: " + b"{a: " * 3_000,
    "other bytes": b"\xff\xfe\x00",
    "a NUL": b"tenants: [{name: a\x00}]",
    "half a pair": rb'tenants: [{name: "\ud800"}]',
    "five thousand digits": BUDGET.format("1" * 5_000).encode(),
    "beyond bigint": BUDGET.format(2**63).encode(),
    "infinity": BUDGET.format(".inf").encode(),
    "bytes for a name": b"tenants: [{name: !!binary aGVsbG8=}]",
    "a program": b"!!python/object:os.system {}",
    "itself": b"tenants: &a [*a]",
    "a billion": b"a0: &a0 [x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10))
    + b"tenants: *a9\n",
    "a long name": b"tenants: [{name: " + b"x" * 100_000 + b"}]",
    "the year 1": b"tenants: [{name: a, users: [{user: a,"
    b" cost_centers: [{from: 0001-01-01T00:00:00Z, cost_center: x}]}]}]",
    "no instant": b"tenants: !!timestamp 99999-99-99",
    "no truth": b"tenants: !!bool x",
    "no number": b"tenants: [{name: a, week_start: !!int x}]",
    "no float": b"tenants: [{name: a, week_start: !!float x}]",
    "a list for a name": b"? [a, b]\n: c",
}
USERS: dict[str, bytes] = {
    "a NUL": b"a\x00b,c\n",
    "other bytes": b"\xff,c\n",
    "half a pair": "\ud800,b\n".encode("utf-8", "surrogatepass"),
    "a long cell": b"x" * 200_000 + b",c\n",
    "an open quote": b'"a,c\n',
    "too many bytes": ("\U0001f600" * 65 + ",c\n").encode(),
    "the year 9999": b"a,b,9999-12-31T23:59:59-23:59\n",
    "the year 1": b"a,b,0001-01-01T00:00:00+23:59\n",
    "thousands of cost centers": b"".join(b"a,c,2026-01-01T%02d:%02d:00Z\n" % divmod(n, 60) for n in range(1_440)),
}


@pytest.mark.parametrize("label", SETUPS)
def test_a_setup_file_of_extremes_is_refused_in_a_sentence(label: str, tmp_path: Path) -> None:
    path = tmp_path / "setup.yaml"
    path.write_bytes(SETUPS[label])
    with pytest.raises(ValueError, match=str(path)):
        read_setup_file(path)


@pytest.mark.parametrize("label", USERS)
def test_a_list_of_users_of_extremes_is_refused_in_a_sentence(label: str, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(b"user,cost_center,from\n" + USERS[label])
    with pytest.raises(ValueError, match=str(path)):
        read_users(path)
