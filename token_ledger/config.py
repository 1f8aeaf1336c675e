"""Owns the settings of a process: environment variables that start with TOKEN_LEDGER_.

Only processes (the CLI and the runtime) read settings; everything else is given values.
"""

import os
import re
import secrets
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _user_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "token-ledger"


_ADDRESS = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9]+)?://(?:[^@/?#]*@)?(?P<hosts>[^/?#]*)")
_PORT = re.compile(r":([^\]:]*)$")
_FORM = "an address reads postgresql://user:password@host:5432/database"
_ESCAPES = "in a password / is %2F, @ is %40, # is %23"


def _check_address(url: str) -> str:
    """Return the address of a database; the ValueError for a wrong one never shows it, because of its password."""
    found = _ADDRESS.match(url)
    if found is None:
        raise ValueError(_FORM)
    for host in found["hosts"].split(","):
        port = _PORT.search(host)
        if port is not None and port[1] and not _is_port(port[1]):
            # Not even the wrong port is shown: if the password has a slash in it, it is a part of the password.
            raise ValueError(f"its port is not a number up to 65535; {_FORM} ({_ESCAPES})")
    return url


def shown_address(url: str) -> str:
    """Return the address of a database with … in place of its password."""
    scheme, _, rest = url.partition("://")
    secret, at, place = rest.rpartition("@")  # a password that was not escaped may have any character
    user, colon, _ = secret.partition(":")
    socket = re.search(r"[?&](host=[^&]*)", place)
    shown = place.partition("?")[0] + (f"?{socket[1]}" if socket else "")
    return f"{scheme}://{user}{':…' if colon and secret[len(user) + 1 :] else ''}{at}{shown}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= 65_535


class Settings(BaseSettings):
    """What a process needs to start. Every setting has a default that works on a laptop."""

    # Compose files and shells set empty variables; an empty one counts as not set.
    model_config = SettingsConfigDict(env_prefix="TOKEN_LEDGER_", env_ignore_empty=True)

    database_url: Annotated[str, AfterValidator(_check_address)] | None = Field(
        default=None,
        repr=False,  # it may have a password in it
        description="Address of a PostgreSQL 15 or later. Without it the process starts its own, embedded PostgreSQL.",
        examples=["postgresql://ledger:secret@db.internal:5432/ledger"],
    )
    data_dir: Path = Field(
        default_factory=_user_data_dir,
        description="Directory of the embedded PostgreSQL, of a laptop's keys and, unless it is set, of the pepper.",
        examples=["/var/lib/token-ledger"],
    )
    environment: str = Field(
        default="live",
        pattern=r"^[a-z0-9]{1,16}$",
        description="Name that new API keys carry, so that a key of a test system is not mistaken for a live one: 1 to"
        " 16 lower-case letters and digits.",
        examples=["staging"],
    )
    key_pepper: SecretStr | None = Field(
        default=None,
        description="Secret that API keys are hashed and short-lived tokens are signed with. All processes of a"
        " database need the same; with another one every key is unknown. Without it one is made and kept in the data"
        " directory.",
        examples=["a-long-random-text"],
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.", examples=["0.0.0.0"])  # noqa: S104
    port: int = Field(
        default=8080, ge=0, le=65_535, description="Port to listen on; 0 takes any free one.", examples=[8080]
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address on which `/metrics` is served. It needs no key and names tenants and users, so it is for"
        " the operator's own network.",
        examples=["10.0.0.5"],
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port on which `/metrics` is served; 0 takes any free one. Without it, the port after the one for"
        " requests.",
        examples=[9464],
    )
    writer_connections: int = Field(
        default=4,
        ge=1,
        le=32,
        description="Database connections per process for writing; batches of different tenants run side by side.",
        examples=[8],
    )
    reader_connections: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Database connections per process for reads: lists, reports, keys that are looked up.",
        examples=[16],
    )
    # The same number as ledger.group_commit.BATCH_OPERATIONS, which says why; a test compares them.
    batch_operations: int = Field(
        default=256,
        ge=1,
        le=4096,
        description="Most operations in one batch (a transaction). More raise the throughput and the latency.",
        examples=[512],
    )
    drain_seconds: int = Field(
        default=20,
        ge=1,
        description="How many seconds a process that was told to stop (SIGTERM) waits for the requests under way.",
        examples=[30],
    )
    retention_months: int | None = Field(
        default=None,
        ge=3,
        description="How many whole months of usage events to keep besides the current one. Older months are dropped,"
        " their sums stay. Without it events are kept forever.",
        examples=[13],
    )
    identity_provider_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks besides the public internet that identity providers may be in, separated by commas. Their"
        " keys are fetched over https; over http only from this machine, if its address is in one of the networks.",
        examples=["10.20.0.0/16,127.0.0.1/32"],
    )
    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        description="Largest request body in bytes. A process has room for 16 MB of them, or for four, and"
        " a tenant for a quarter of that.",
        examples=[4_194_304],
    )
    max_connections: int = Field(
        default=4_096,
        ge=64,
        description="Most open connections of clients; one more is answered 503. The limit of descriptors is raised for"
        " them.",
        examples=[16_384],
    )
    max_connections_per_address: int = Field(
        default=2_048,
        ge=1,
        description="Most open connections from one address. Behind a load balancer, set it to the number of all.",
        examples=[4_096],
    )
    request_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How many seconds a client has to send a request, and to take a piece of an answer.",
        examples=[30],
    )
    keep_alive_seconds: int = Field(
        default=5,
        ge=1,
        description="How many seconds an idle connection is kept open.",
        examples=[75],
    )
    requests_per_second: int | None = Field(
        default=None,
        ge=1,
        description="Most requests per second of one key or token, on average over ten seconds; more are answered 429."
        " Settles, releases and events never count. Without it there is no such limit.",
        examples=[200],
    )

    def port_of_metrics(self) -> int:
        """Return the port for `/metrics`; 0 takes any free one."""
        if self.metrics_port is not None:
            return self.metrics_port
        return self.port + 1 if 0 < self.port < 65_535 else 0

    @field_validator("identity_provider_networks", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        return [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given

    def pepper(self) -> bytes:
        """Return the pepper; without one in the settings, one is made on first use and kept in the data directory."""
        if self.key_pepper is not None:
            return self.key_pepper.get_secret_value().encode()
        path = self.data_dir / "key-pepper"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            pass
        return path.read_text().encode()
