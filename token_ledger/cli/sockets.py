"""Owns the sockets that `serve` listens on, and how many descriptors a process may have."""

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import resource
except ImportError:  # Windows has no limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

BACKLOG = 2048
DESCRIPTORS_BESIDE = 256
"""Descriptors that a process needs besides its clients' connections: database, files, its own listeners."""


def listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """Return sockets that listen on every address of a host; OSError says which setting to change."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            # For port 0 the system picks a free one, which is then the one of every address.
            picked = sockets[0].getsockname()[1] if sockets else address[1]
            sockets.append(socket.create_server((address[0], picked, *address[2:]), family=family, backlog=BACKLOG))
    except OSError as error:
        for each in sockets:
            each.close()
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} of {host} is in use; stop what listens there, or set {setting} to another"
        else:
            why = f"can't listen on port {port} of {host}: {error.strerror or error}; correct {setting}"
        raise OSError(why) from None
    return sockets


@contextmanager
def closing_all(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Close sockets at the end of the block."""
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def most_connections(wanted: int) -> int:
    """Raise the limit of descriptors, and return for how many of the `wanted` connections of clients there is room."""
    limit = descriptor_limit(wanted + DESCRIPTORS_BESIDE)
    most = max(min(wanted, limit - DESCRIPTORS_BESIDE), DESCRIPTORS_BESIDE // 4)
    if most < wanted:
        log.warning("the limit of descriptors (ulimit -n) is %d, so at most %d connections are taken", limit, most)
    return most


def descriptor_limit(wanted: int) -> int:
    """Raise the limit of descriptors to its hard limit, and return it, or `wanted` where there is none."""
    if resource is None:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # an unlimited hard limit can't be taken everywhere
            return soft
    return wanted if hard == resource.RLIM_INFINITY else hard
