"""Readers of files for the tests of the second process, which imports them by their names."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from token_ledger.imports.rows import Place, UnreadableFile


def numbered(path: Path, first_process: int) -> Iterator[tuple[str, int]]:
    """Yield each line of a file, and whether this process is the first one; `bad` can't be read."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line == "bad":
            raise UnreadableFile(Place(str(path), number), "it is bad")
        if line.startswith("wait for the "):
            wait_for(path.with_name(line.removeprefix("wait for the ")))
        yield f"{path.name} {line}", os.getpid()
    if os.getpid() != first_process:
        path.with_name("other").touch()


def dying(path: Path, first_process: int) -> Iterator[tuple[str, int]]:
    """Read a file, but die in the second process after some of it."""
    for row in numbered(path, first_process):
        if os.getpid() != first_process and row[0].endswith("die"):
            path.with_name("death").touch()
            os._exit(1)
        yield row


def endless(path: Path, directory: str) -> Iterator[int]:
    """Yield rows without an end; the name of a file says which process it is."""
    (Path(directory) / f"pid-{os.getpid()}").touch()
    while True:
        time.sleep(0.001)
        yield 1


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"there is no {path}"
        time.sleep(0.01)


def others(directory: Path) -> list[int]:
    """Return the other processes that said which they are."""
    return [pid for path in directory.glob("pid-*") if (pid := int(path.name[4:])) != os.getpid()]


def is_alive(pid: int) -> bool:
    """Return whether a process is there, and not only left for its parent to ask about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    until = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)
