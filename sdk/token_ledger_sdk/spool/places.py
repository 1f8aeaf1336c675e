"""Where spools are: a directory for each service and owner, below the one for what programs keep of a user."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ..cache_home import write_whole
from ..errors import ConfigurationError
from .segments import CAN_BE_USED, SUFFIX

DIRECTORY_VARIABLE = "TOKEN_LEDGER_SPOOL"
_TENANT = "tenant"
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def spool_home(given: str | Path | None = None) -> Path:
    """Return the directory of all spools: the one given, else TOKEN_LEDGER_SPOOL, else one in the user's state.

    Raises ConfigurationError if the one that was asked for can't be written to.
    """
    asked = given or os.environ.get(DIRECTORY_VARIABLE)
    if asked is None:
        state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        return Path(state) / "token-ledger" / "spool"
    home = Path(asked)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        writable = os.access(home, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigurationError(
            f"the spool directory {home} can't be written to: make it one of this user, or set {DIRECTORY_VARIABLE} to"
            " another"
        )
    return home


class SpoolPlace:
    """Where a client with this key keeps its spool: with its tenant, or with its key while the tenant is not known.

    The key itself is in no file and no name: only its hash is.
    """

    def __init__(self, home: Path, service: str, key: str) -> None:
        self.service = service
        self._service_home = home / _hash(service)
        self._of_key = f"key-{_hash(key)}"
        self._tenant = _tenant_of(self._service_home / self._of_key)

    @property
    def owner(self) -> str:
        """Whose the records are that are written now."""
        return self._of_key if self._tenant is None else f"tenant-{self._tenant}"

    @property
    def is_owner_known(self) -> bool:
        """Whether it is known of which tenant the key is."""
        return self._tenant is not None

    @property
    def directory(self) -> Path:
        """Where new files are made."""
        return self._service_home / self.owner

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where files lie that a client with this key may send."""
        own = self._service_home / self._of_key
        if self._tenant is None:
            return (own,)
        # What a key wrote before it was known whose it is stays where it was.
        others = (each for each in self._known_keys() if each != own and _tenant_of(each) == self._tenant)
        return (self.directory, own, *others)

    @property
    def may_be_heir(self) -> bool:
        """Whether it is not known which tenant the key is of, and files of known tenants lie here."""
        if self._tenant is not None:
            return False
        of_keys = (any(each.glob(f"*{SUFFIX}")) for each in self._known_keys())
        return any(self._service_home.glob(f"tenant-*/*{SUFFIX}")) or any(of_keys)

    def _known_keys(self) -> list[Path]:
        return [mark.parent for mark in sorted(self._service_home.glob(f"key-*/{_TENANT}"))]

    def belongs_to(self, tenant: str) -> bool:
        """Note which tenant (and role) the service says that the key is of; returns whether that is news."""
        if tenant == self._tenant or not _SAFE.fullmatch(tenant):
            return False
        self._tenant = tenant
        with suppress(OSError):
            own = self._service_home / self._of_key
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(own / _TENANT, tenant.encode())
        return True


def spool_place(given: str | Path | Literal[False] | None, service: str, key: str) -> SpoolPlace | None:
    """Return where a client keeps its spool, None in memory only; raises ConfigurationError as `spool_home` does."""
    if given is False or not CAN_BE_USED:
        return None
    return SpoolPlace(spool_home(given), service, key)


def _tenant_of(directory: Path) -> str | None:
    """Return which tenant the key of a directory is of, as far as that is known."""
    try:
        return (directory / _TENANT).read_text(encoding="utf-8") or None
    except OSError:
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
