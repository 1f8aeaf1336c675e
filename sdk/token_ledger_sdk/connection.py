"""Where the service is and who is calling; the only place that reads the environment."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import httpx2

from .errors import ConfigurationError

URL_VARIABLE = "TOKEN_LEDGER_URL"
KEY_VARIABLE = "TOKEN_LEDGER_KEY"

# Between reserve and settle lies a provider call: only a connection that outlives it is used again.
POOL = httpx2.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=60.0)


@dataclass(frozen=True, slots=True)
class Connection:
    """The service's address and the key; the key is left out of `repr`, and so of logs."""

    base_url: str
    key: str = field(repr=False)

    @classmethod
    def resolve(cls, base_url: str | None, key: str | None) -> Connection:
        """Take the arguments, else the environment, stripped of blanks; raises ConfigurationError if malformed."""
        return cls(
            _given_or_set(base_url, "base_url", URL_VARIABLE).rstrip("/"),
            _given_or_set(key, "key", KEY_VARIABLE),
        )

    def __post_init__(self) -> None:
        # Not quoted: it may be the key, given in the wrong place, and errors are logged.
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                "the address does not begin with http:// or https://: give it in full, and before the key"
            )
        if "@" in self.base_url.partition("://")[2].partition("/")[0]:
            raise ConfigurationError("the address has a login in it, which logs would show: leave it out, a key is all")
        # The transport would refuse a header with such a key, in an error that quotes it.
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise ConfigurationError(
                "the key has a blank or a character that is not printable ASCII: copy it again from where it was made"
            )

    @property
    def tenant(self) -> str:
        """What tells tenants and services apart, from which neither can be found out."""
        return hashlib.sha256(f"{self.base_url}\n{self.key}".encode()).hexdigest()

    def headers(self) -> dict[str, str]:
        """Build the headers that every request carries."""
        return {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Accept": "application/json, application/problem+json",
            "User-Agent": f"token-ledger-sdk/{_own_version()}",
        }


def _given_or_set(given: str | None, name: str, variable: str) -> str:
    # Keys are often read from files, which end with a line break.
    value = (given if given is not None else os.environ.get(variable, "")).strip()
    if not value:
        raise ConfigurationError(f"no {name}: give it to the client or set {variable}")
    return value


def _own_version() -> str:
    try:
        return version("token-ledger-sdk")
    except PackageNotFoundError:
        return "unknown"
