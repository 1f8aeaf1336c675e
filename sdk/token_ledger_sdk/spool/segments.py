"""One file of a spool, which one process has open and locked: whoever gets the lock of another's file takes it over."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from .lines import Found, Place, Record, done_line, head_line, read_lines, read_record, record_line

if sys.platform != "win32":
    import fcntl

SUFFIX = ".spool"
CAN_BE_USED = sys.platform != "win32"
"""Windows has no locks that end with their process and belong to an open file: there, what waits is in memory."""
DAMAGED = ".damaged"
"""What the copy of a file is called that had damaged lines."""


class Segment:
    """An open and locked file of records; not safe for threads.

    The lock belongs to the open file, so it lasts until this process, and any that it forked and that still has the
    file open, has ended or closed it.
    """

    def __init__(self, path: Path, handle: int, *, size: int) -> None:
        self.path = path
        self._handle = handle
        self.size = size
        self.is_synced = True
        self.waiting: dict[int, Place] = {}
        self._next = 0

    @classmethod
    def create(cls, directory: Path, service: str, owner: str) -> Segment:
        """Make a file that only this user can read; raises OSError."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        segment = cls(path, handle, size=0)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # another process may look at it, for a moment
            segment._write(head_line(service, owner))
        except OSError:
            segment.discard()
            raise
        return segment

    @classmethod
    def take_over(cls, path: Path) -> tuple[Segment, Found] | None:
        """Open a file that no living process has open; None if one has, or if it is gone.

        Raises OSError, NewerFormat, and ValueError if it is no file of a spool.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have deleted it between the two calls.
            content = b"" if os.fstat(handle).st_nlink == 0 else _read_all(handle)
            if not content:
                # Its process died before the first line was written, or may be about to write it.
                os.close(handle)
                return None
            # A last line that is not whole was being written when its process died: no call was told that it is kept.
            whole = content.rfind(b"\n") + 1
            found = read_lines(content[:whole])
            if found.damaged:
                path.with_suffix(DAMAGED).write_bytes(content)
            os.ftruncate(handle, whole)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        segment = cls(path, handle, size=whole)
        segment.waiting = {place.number: place for place in found.waiting}
        segment._next = max(segment.waiting, default=-1) + 1
        return segment, found

    @staticmethod
    def is_in_use(path: Path) -> bool:
        """Whether a living process has a file; raises FileNotFoundError if it is gone."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def append(self, record: Record) -> int:
        """Write a record, and return its number; raises OSError, and then the file is as it was."""
        number = self._next
        line = record_line(number, record)
        offset = self.size
        self._write(line)
        self._next += 1
        self.waiting[number] = Place(number, offset, len(line))
        return number

    def read(self, number: int) -> Record:
        """Read a record again; raises OSError or ValueError."""
        place = self.waiting[number]
        return read_record(os.pread(self._handle, place.length, place.offset))

    def done(self, numbers: Collection[int]) -> None:
        """Note that records need not be sent any more."""
        for number in numbers:
            self.waiting.pop(number, None)
        if self.waiting:
            # Were this lost, they would be sent again, and booked once all the same.
            with suppress(OSError):
                self._write(done_line(numbers))

    def sync(self) -> None:
        """Wait until what was written is on the disk; raises OSError."""
        if not self.is_synced:
            self.is_synced = True
            if self.waiting:
                os.fdatasync(self._handle)

    def clear(self) -> None:
        """Forget all records, which are done, and keep the first line."""
        with suppress(OSError):
            first = os.pread(self._handle, 65_536, 0).find(b"\n") + 1
            os.ftruncate(self._handle, first)
            self.size = first

    def close(self) -> None:
        """Close the file, and leave what it has to another process."""
        os.close(self._handle)

    def discard(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._handle, line)
            if written != len(line):
                raise OSError(28, "the disk is full")
        except OSError:
            # A part of a line would make one with the next.
            with suppress(OSError):
                os.ftruncate(self._handle, self.size)
            raise
        self.size += len(line)
        self.is_synced = False


def _read_all(handle: int) -> bytes:
    size = os.fstat(handle).st_size
    content = b""
    while len(content) < size:
        part = os.pread(handle, size - len(content), len(content))
        if not part:
            break
        content += part
    return content
