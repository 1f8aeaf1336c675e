"""A thread that has the files of spools written to the disk, at most a second after something was appended."""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

PAUSE_SECONDS = 0.5
"""What is done within this time is never waited for on the disk."""


class Synced(Protocol):
    """What can be written to the disk."""

    def sync(self) -> None:
        """Wait until what was written is on the disk."""


class _Syncer:
    """The thread of this process, made when it is first needed; it ends after a while without work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: set[Synced] = set()
        self._is_running = False

    def add(self, spool: Synced) -> None:
        """Let a spool be written soon."""
        if spool in self._due:
            return
        with self._lock:
            self._due.add(spool)
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="token-ledger-spool", daemon=True).start()

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(PAUSE_SECONDS)
            with self._lock:
                due, self._due = self._due, set()
                idle = 0 if due else idle + 1
                if idle > 20:
                    self._is_running = False
                    return
            for spool in due:
                spool.sync()


_syncer = _Syncer()


def sync_soon(spool: Synced) -> None:
    """Let what was appended to a spool be on the disk at most a second from now."""
    _syncer.add(spool)


def _after_fork() -> None:
    global _syncer  # the thread is not copied
    _syncer = _Syncer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
