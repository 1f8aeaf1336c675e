"""Where this package keeps what it can always fetch or unpack again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_directory(name: str) -> Path:
    """Return a directory of that name which can be written to; with a read-only home, a new one at each start."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    directory = Path(home) / "token-ledger" / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError:
        writable = False
    return directory if writable else Path(tempfile.mkdtemp(prefix=f"token-ledger-{name}-"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that others read the old content or the new, and never a part of it.

    Several processes may write at once: each writes a file of its own, and the last rename wins.
    """
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:  # such as a full disk: the part that was written would stay for ever
        Path(name).unlink()
        raise
