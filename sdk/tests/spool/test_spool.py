"""What a spool keeps, through whatever happens to its files and its processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk.errors import ConfigurationError
from token_ledger_sdk.spool import segments
from token_ledger_sdk.spool.lines import Record
from token_ledger_sdk.spool.places import SpoolPlace, spool_home
from token_ledger_sdk.spool.segments import Segment
from token_ledger_sdk.spool.spool import Spool, Ticket

from ..forking import become_nobody, check_in_a_fork

SERVICE = "http://ledger.test"
KEY = "tl_test_1_secret"


def place(home: Path, *, service: str = SERVICE, key: str = KEY) -> SpoolPlace:
    return SpoolPlace(home, service, key)


def record(number: int) -> Record:
    return Record(json.dumps({"op": "settle", "reservation_id": str(number)}), json.dumps({"user": "ada"}))


def files(home: Path) -> list[Path]:
    return sorted(home.glob("*/*/*.spool"))


def numbers(taken: list[tuple[Ticket, Record]]) -> list[int]:
    return [int(json.loads(each.operation)["reservation_id"]) for _, each in taken]


def left_by_a_dead_process(home: Path, *records: Record, key: str = KEY) -> Path:
    """Return the file of a process that has written some records and died."""
    spool = Spool(place(home, key=key))
    for each in records:
        spool.append(each)
    (path,) = files(home)
    spool.close()  # as the death of the process does: the file stays, and its lock is gone
    return path


def test_records_are_taken_oldest_first_and_forgotten_when_they_are_done(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    for number in range(5):
        spool.append(record(number))
    taken = spool.take(3)
    assert (numbers(taken), spool.waiting, spool.ready) == ([0, 1, 2], 5, 2)
    spool.done([taken[0][0]])
    spool.put_back([ticket for ticket, _ in taken[1:]])
    assert numbers(spool.take(9)) == [1, 2, 3, 4]
    assert spool.waiting == 4


def test_what_is_about_to_be_sent_by_another_is_not_taken(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    ticket = spool.append(record(1), ready=False)
    assert ticket is not None
    assert spool.take(9) == []
    spool.make_ready([ticket])
    spool.done([ticket])
    spool.done([ticket])
    assert (spool.take(9), spool.waiting) == ([], 0)


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_process_that_died_is_followed_by_the_next(done: int, tmp_path: Path) -> None:
    dead = Spool(place(tmp_path))
    tickets = [dead.append(record(number)) for number in range(3)]
    dead.done([ticket for ticket in tickets[:done] if ticket is not None])
    dead.close()
    heir = Spool(place(tmp_path))
    assert heir.adopt() == 3 - done
    taken = heir.take(9)
    assert numbers(taken) == [0, 1, 2][done:]
    assert all(each.call == '{"user": "ada"}' for _, each in taken)
    heir.done([ticket for ticket, _ in taken])
    heir.close()
    assert files(tmp_path) == []


def test_of_a_living_process_nothing_is_taken_over(tmp_path: Path) -> None:
    alive, other = Spool(place(tmp_path)), Spool(place(tmp_path))
    alive.append(record(1))
    assert (other.adopt(), alive.adopt()) == (0, 0)


def test_two_that_follow_do_not_both_take_it(tmp_path: Path) -> None:
    left_by_a_dead_process(tmp_path, record(1))
    first, second = Spool(place(tmp_path)), Spool(place(tmp_path))
    assert (first.adopt(), second.adopt()) == (1, 0)


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    program = f"""
import sys
import zlib
from pathlib import Path
from token_ledger_sdk.spool.lines import Record
from token_ledger_sdk.spool.places import SpoolPlace
from token_ledger_sdk.spool.spool import Spool
spool = Spool(SpoolPlace(Path({str(tmp_path)!r}), {SERVICE!r}, {KEY!r}))
for number in range(10_000):
    spool.append(Record('{{"op": "settle", "reservation_id": "%d"}}' % number))
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(200)]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().split()]
    heir = Spool(place(tmp_path))
    heir.adopt()
    kept = numbers(heir.take(10_000))
    assert kept[: len(told)] == told
    assert len(kept) - len(told) <= 1


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_record_is_left_out_and_the_others_are_sent(cut: int, tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, record(1), record(2), record(3))
    os.truncate(path, path.stat().st_size - cut)
    heir = Spool(place(tmp_path))
    assert heir.adopt() == 2
    taken = heir.take(9)
    heir.done([taken[0][0]])
    heir.close()
    assert Spool(place(tmp_path)).adopt() == 1, "what was appended after the torn line is readable"


def test_a_damaged_line_is_copied_aside_and_keeps_no_other_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = left_by_a_dead_process(tmp_path, record(1), record(2), record(3))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"reservation_id": "2"', b'"reservation_id": "7"'))
    heir = Spool(place(tmp_path))
    heir.adopt()
    assert numbers(heir.take(9)) == [1, 3]
    assert "1 damaged lines" in caplog.text
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("content", [b"", b"no spool\n", b"0badc0de {}\n"])
def test_what_is_no_spool_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, record(1))
    path.write_bytes(content)
    assert Spool(place(tmp_path)).adopt() == 0
    assert path.read_bytes() == content


def test_the_spool_of_a_newer_version_waits_for_that(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = left_by_a_dead_process(tmp_path, record(1))
    line = json.dumps({"format": 2, "service": SERVICE, "owner": "x"}).encode()
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(line), line))
    assert Spool(place(tmp_path)).adopt() == 0
    assert "format 2 is newer than 1" in caplog.text


WRITTEN_BY_0_1 = (
    b'264a33bc {"format": 1, "service": "http://ledger.test", "owner": "tenant-7-agent"}\n'
    b'7cc3d038 {"number":0,"length":15,"call":{"user": "ada"},"operation":{"op": "settle", "reservation_id": "1"}}\n'
    b'0a4a125e {"number":1,"length":15,"call":{"user": "ada"},"operation":{"op": "settle", "reservation_id": "2"}}\n'
    b'0ff7a986 {"done":[0]}\n'
)
"""What the first version has written, for all later ones to read."""


def test_the_spool_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, record(9))
    path.write_bytes(WRITTEN_BY_0_1)
    heir = Spool(place(tmp_path))
    assert heir.adopt() == 1
    assert numbers(heir.take(9)) == [2]


def test_a_full_disk_is_told_and_what_waits_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(place(tmp_path))
    spool.append(record(0))
    write = os.write

    def half(handle: int, line: bytes) -> int:
        return write(handle, line[: len(line) // 2])

    monkeypatch.setattr(segments.os, "write", half)
    spool.append(record(1))
    spool.append(record(2))
    monkeypatch.undo()
    spool.append(record(3))
    assert "can't write to its spool" in caplog.text
    assert caplog.text.count("can't write") == 1
    state = spool.state()
    assert (state.waiting, state.only_in_memory, state.dropped) == (4, 2, 0)
    assert numbers(spool.take(9)) == [0, 1, 2, 3]
    spool.close()
    heir = Spool(place(tmp_path))
    heir.adopt()
    assert numbers(heir.take(9)) == [0, 3], "no half of a line is in the file"


def test_more_than_there_is_room_for_is_counted_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from token_ledger_sdk.spool import spool as module

    monkeypatch.setattr(module, "_MOST_IN_MEMORY", 2)
    monkeypatch.setattr(module, "_SEGMENT_BYTES", 200)
    spool = Spool(place(tmp_path), most_bytes=500)
    kept = [spool.append(record(number)) is not None for number in range(20)]
    state = spool.state()
    assert kept == sorted(kept, reverse=True)
    assert 2 < kept.count(True) < 20
    assert (state.waiting, state.only_in_memory, state.dropped) == (kept.count(True), 2, kept.count(False))
    assert '"reservation_id": "19"' in caplog.text, "the whole of what is dropped is in the log"


@pytest.mark.parametrize("name", ["", "spool"])
def test_a_directory_that_can_not_be_written_to_is_told_at_once(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:  # one that other users can enter, unlike `tmp_path`
        Path(directory).chmod(0o555)

        def check() -> None:
            become_nobody()
            with pytest.raises(ConfigurationError, match="can't be written to"):
                spool_home(Path(directory, name))

        check_in_a_fork(check)


def test_a_file_in_place_of_the_directory_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(ConfigurationError, match="TOKEN_LEDGER_SPOOL"):
        spool_home(tmp_path / "spool")


def test_without_a_directory_that_was_asked_for_it_is_in_the_users_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN_LEDGER_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert spool_home() == Path("/somewhere/token-ledger/spool")


def test_only_the_user_can_read_it_and_the_key_is_nowhere(tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, record(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    everything = "".join(str(each) for each in tmp_path.rglob("*")).encode() + path.read_bytes()
    assert b"secret" not in everything


def test_an_older_key_of_the_tenant_is_followed_by_a_newer_one_and_no_other_by_any(tmp_path: Path) -> None:
    """Once the service has said whose a key is, files are the tenant's."""
    old = place(tmp_path, key="tl_test_1_old")
    old.belongs_to("7")
    spool = Spool(place(tmp_path, key="tl_test_1_old"))
    spool.append(record(1))
    spool.close()
    new, stranger = place(tmp_path, key="tl_test_2_new"), place(tmp_path, key="tl_test_3_stranger")
    assert Spool(new).adopt() == 0, "nobody has said yet whose this key is"
    stranger.belongs_to("8")
    elsewhere = place(tmp_path, service="http://other.test", key="tl_test_2_new")
    elsewhere.belongs_to("7")
    assert (Spool(stranger).adopt(), Spool(elsewhere).adopt()) == (0, 0)
    new.belongs_to("7")
    assert Spool(new).adopt() == 1


def test_a_tenant_is_no_path(tmp_path: Path) -> None:
    own = place(tmp_path)
    own.belongs_to("../../etc")
    assert own.owner.startswith("key-")


def test_a_fork_begins_anew_and_does_not_keep_the_parents_file_from_others(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    spool.append(record(1))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        spool.append(record(2))
        os.write(write, json.dumps([spool.waiting, numbers(spool.take(9)), spool.adopt()]).encode())
        spool.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(read, 1_000)) == [1, [2], 0]
    assert numbers(spool.take(9)) == [1]
    spool.close()
    heir = Spool(place(tmp_path))
    assert heir.adopt() == 2, "each process has left one"


def test_a_file_that_is_drained_is_small_again_and_a_full_one_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from token_ledger_sdk.spool import spool as module

    monkeypatch.setattr(module, "_SEGMENT_BYTES", 4_000)
    spool = Spool(place(tmp_path))
    for number in range(100):
        spool.append(record(number))
    assert len(files(tmp_path)) > 2
    taken = spool.take(100)
    assert numbers(taken) == [*range(100)]
    spool.done([ticket for ticket, _ in taken])
    assert sum(path.stat().st_size for path in files(tmp_path)) < 4_000
    spool.append(record(100))
    assert numbers(spool.take(9)) == [100]


def test_what_the_service_refuses_for_good_is_kept_for_people(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    spool.append(record(1))
    ((ticket, kept),) = spool.take(1)
    spool.set_aside(ticket, kept, "422 invalid_request")
    (aside,) = tmp_path.glob("*/*/refused.jsonl")
    assert json.loads(aside.read_text()) == {
        "reason": "422 invalid_request", "operation": kept.operation, "call": kept.call,
    }  # fmt: skip
    assert spool.waiting == 0


def test_it_is_written_to_the_disk_unless_it_is_done_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Any] = []
    monkeypatch.setattr(segments.os, "fdatasync", synced.append)
    spool = Spool(place(tmp_path))
    ticket = spool.append(record(1))
    spool.sync()
    spool.sync()
    assert len(synced) == 1
    assert ticket is not None
    spool.done([ticket])
    ticket = spool.append(record(2))
    assert ticket is not None
    spool.done([ticket])
    spool.sync()
    assert len(synced) == 1


def test_a_disk_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(segments.os, "fdatasync", fail)
    spool = Spool(place(tmp_path))
    spool.append(record(1))
    spool.sync()
    assert "may not survive a power cut" in caplog.text


def test_a_file_that_its_process_has_deleted_is_not_taken(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, SERVICE, "tenant-7")
    segment.discard()
    assert Segment.take_over(segment.path) is None
