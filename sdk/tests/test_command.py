"""The command that shows and drains spools, on files that dead and living processes have left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from token_ledger_sdk.command import main
from token_ledger_sdk.spool.lines import Record
from token_ledger_sdk.spool.places import SpoolPlace
from token_ledger_sdk.spool.spool import Spool

URL = "http://ledger.test"
KEY = "tl_test_1_secret"
USAGE = {"input_tokens": 10, "output_tokens": 5}


def settle(number: int, **said: Any) -> Record:
    operation = {"op": "settle", "reservation_id": str(number), "idempotency_key": f"k{number}", "usage": USAGE, **said}
    return Record(json.dumps(operation), json.dumps({"occurred_at": f"2026-11-20T12:00:{number:02}+00:00"}))


def spool_with(home: Path, *numbers: int, key: str = KEY, tenant: str | None = "7-agent", service: str = URL) -> Spool:
    place = SpoolPlace(home, service, key)
    if tenant is not None:
        place.belongs_to(tenant)
    spool = Spool(place)
    for number in numbers:
        spool.append(settle(number))
    return spool


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return str(path)


def drain(home: Path, service: Any, key_file: str) -> int:
    given = ["spool", "drain", "--directory", str(home), "--url", URL, "--key-file", key_file]
    return main(given, httpx2.MockTransport(service))


def waiting(home: Path) -> list[Path]:
    return sorted(home.glob("*/*/*.spool"))


def test_it_is_shown_what_waits_by_service_and_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool_with(tmp_path, 3, 4).close()
    other = spool_with(tmp_path, 5, service="http://other.test", tenant=None, key="tl_test_2_secret")
    directory = other.state().directory
    assert directory is not None
    (directory / "refused.jsonl").write_text("{}\n{}\n")
    (directory / "1-a.damaged").write_text("?")
    before = {path: path.read_bytes() for path in waiting(tmp_path)}
    assert main(["spool", "--directory", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert {path: path.read_bytes() for path in waiting(tmp_path)} == before
    dead, alive = sorted(shown.split("http://")[1:], reverse=True)[1], shown.split("http://other.test")[1]
    assert dead.startswith("ledger.test, tenant-7-agent\n  waiting: 2 in 1 files, ")
    assert "with living processes: 0 in 0 files" in dead
    assert "oldest: 2026-11-20T12:00:03+00:00" in dead
    assert alive.startswith(", key-")
    assert "with living processes: 1 in 1 files" in alive
    assert "refused by the service, for people to read: 2 in refused.jsonl" in alive
    assert "copies of damaged files: 1" in alive


def test_where_nothing_waits_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spool", "show", "--directory", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"nothing waits in {tmp_path}\n"


def test_what_is_shown_can_still_be_taken_over(tmp_path: Path) -> None:
    spool_with(tmp_path, 3).close()
    main(["spool", "--directory", str(tmp_path)])
    assert spool_with(tmp_path).adopt() == 1


@pytest.mark.parametrize("known", [True, False], ids=["a key that was used here", "a new key of the tenant"])
def test_what_dead_processes_have_left_is_sent(
    known: bool, tmp_path: Path, service: Any, key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spool_with(tmp_path, 3, 4, key=KEY if known else "tl_test_2_older").close()
    assert drain(tmp_path, service, key_file) == 0
    assert service.paths() == [f"POST /v1/reservations/{number}/settle" for number in (3, 4)]
    assert waiting(tmp_path) == []
    shown = capsys.readouterr().out
    assert "booked: 2\n" in shown
    assert "left: 0\n" in shown


def test_what_a_key_wrote_before_it_was_known_whose_it_is_is_sent_by_a_newer(
    tmp_path: Path, service: Any, key_file: str
) -> None:
    place = SpoolPlace(tmp_path, URL, "tl_test_2_older")
    spool = Spool(place)
    spool.append(settle(3))
    place.belongs_to("7-agent")
    spool.close()
    assert drain(tmp_path, service, key_file) == 0
    assert service.paths() == ["POST /v1/reservations/3/settle"]


def test_what_another_tenant_owns_is_not_sent(tmp_path: Path, service: Any, key_file: str) -> None:
    spool_with(tmp_path, 3, key="tl_test_2_other", tenant="8-agent").close()
    spool_with(tmp_path, 4, service="http://other.test").close()
    before = waiting(tmp_path)
    assert drain(tmp_path, service, key_file) == 0
    assert service.paths() == []
    assert waiting(tmp_path) == before


def test_what_a_living_process_has_is_left_to_it(
    tmp_path: Path, service: Any, key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alive = spool_with(tmp_path, 3)
    assert drain(tmp_path, service, key_file) == 1
    assert "left: 1, of them 1 that living processes send themselves" in capsys.readouterr().out
    assert (service.paths(), alive.waiting) == ([], 1)


def test_it_is_said_what_became_of_each(
    tmp_path: Path, service: Any, key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = spool_with(tmp_path, 1, 2, 3, 4)
    spool.append(Record(json.dumps({"op": "release", "reservation_id": "5", "idempotency_key": "k5"})))
    spool.close()
    service.script = [
        httpx2.Response(200, json=service.settlement()),
        httpx2.Response(200, json=service.settlement() | {"replayed": True}),
        service.problem(409, "reservation_not_open", quarantine_id="9"),
        service.problem(403, "forbidden"),
    ]
    assert drain(tmp_path, service, key_file) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "booked: 1\nbooked before: 1\nkept in quarantine: 1\nreleased, or ended meanwhile: 1\nrefused: 1\nleft: 0\n"
    )
    (refused,) = tmp_path.glob("*/*/refused.jsonl")
    assert f"what was refused is in {refused}" in shown
    assert json.loads(json.loads(refused.read_text())["operation"])["idempotency_key"] == "k4"


def test_more_than_a_request_takes_is_sent_whole(tmp_path: Path, service: Any, key_file: str) -> None:
    spool_with(tmp_path, *range(60)).close()
    more = spool_with(tmp_path)
    for _ in range(1_000):
        more.append(settle(1))
    more.close()
    assert drain(tmp_path, service, key_file) == 0
    assert len(service.requests) == 1_060


def test_without_an_answer_everything_is_left(
    tmp_path: Path, key_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    monkeypatch.setattr("token_ledger_sdk.outage.RetryPolicy.delay_seconds", lambda *_, **__: None)
    spool_with(tmp_path, 3, 4).close()
    assert drain(tmp_path, away, key_file) == 1
    told = capsys.readouterr()
    assert "left: 2\n" in told.out
    assert "the service did not take all of it" in told.err
    assert spool_with(tmp_path).adopt() == 2


def test_a_file_of_a_newer_version_is_named_and_left(
    tmp_path: Path, service: Any, key_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("token_ledger_sdk.spool.lines.FORMAT", 2)
        spool_with(tmp_path, 3).close()
    assert drain(tmp_path, service, key_file) == 1
    assert "format 2 is newer than 1" in capsys.readouterr().out
    assert len(waiting(tmp_path)) == 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "no base_url"),
        (["--url", URL], "no key"),
        (["--url", URL, "--key-file", "/nowhere/key"], "No such file"),
        (["--directory", "/proc/spool"], "can't be written to"),
    ],
)
def test_it_is_said_what_is_wrong_with_what_was_given(
    given: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOKEN_LEDGER_URL", "TOKEN_LEDGER_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["spool", "drain", *given]) == 2
    assert problem in capsys.readouterr().err
