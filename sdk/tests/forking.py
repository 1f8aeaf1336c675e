"""Looks at what a forked process has."""

from __future__ import annotations

import os
import pwd
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def check_in_a_fork(check: Callable[[], None]) -> None:
    """Check something in a forked process; raises AssertionError if it fails there, or hangs for a minute."""
    with in_a_fork(check):
        pass


@contextmanager
def in_a_fork(do: Callable[[], None]) -> Iterator[None]:
    """Do something in a forked process meanwhile, which then ends at once, and nothing of it is closed.

    Raises AssertionError if it fails there, or hangs for a minute.
    """
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # ends it if it hangs
        try:
            do()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"the forked process ended with {code}"


def become_nobody() -> None:
    """Let this forked process be one of another user, if it is root's, who may write everywhere."""
    if os.geteuid() == 0:
        os.setuid(pwd.getpwnam("nobody").pw_uid)
