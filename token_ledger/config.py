"""Owns the settings of a process: environment variables that start with TOKEN_LEDGER_. Only processes read them."""

import os
import re
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _user_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "token-ledger"


_ADDRESS = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9]+)?://(?:[^@/?#]*@)?(?P<hosts>[^/?#]*)")
_PORT = re.compile(r":([^\]:]*)$")


def _is_address(url: str) -> str:
    """Return the address of a database; what is wrong with another is told without it, for it holds a password."""
    form = "an address reads postgresql://user:password@host:5432/database"
    found = _ADDRESS.match(url)
    if found is None:
        raise ValueError(form)
    for host in found["hosts"].split(","):
        port = _PORT.search(host)
        if port is not None and port[1] and not (port[1].isascii() and port[1].isdigit() and int(port[1]) <= 65_535):
            # What stands there is not told either: after a password with a slash in it, it is the password.
            raise ValueError(f"its port is no number up to 65535; {form} (in a password / is %2F, @ is %40, # is %23)")
    return url


class Settings(BaseSettings):
    """What a process needs to start; everything has a default that works on a laptop."""

    # A variable that is empty, as compose files and shells make them, is one that is not set.
    model_config = SettingsConfigDict(env_prefix="TOKEN_LEDGER_", env_ignore_empty=True)

    database_url: Annotated[str, AfterValidator(_is_address)] | None = Field(
        default=None, description="PostgreSQL 15 or later; without it the service starts its own"
    )
    data_dir: Path = Field(default_factory=_user_data_dir, description="where the embedded PostgreSQL lives")
    environment: str = Field(default="live", pattern=r"^[a-z0-9]{1,16}$", description="stands in every API key")
    key_pepper: SecretStr | None = Field(
        default=None, description="secret that key hashes are made with; without it one is kept in data_dir"
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535, description="0 takes one that is free")
    writer_connections: int = Field(default=4, ge=1, le=32)
    reader_connections: int = Field(default=8, ge=1, le=64)
    batch_operations: int = Field(default=256, ge=1, le=4096, description="most operations in one transaction")
    drain_seconds: int = Field(default=20, ge=1, description="how long SIGTERM waits for requests under way")
    retention_months: int | None = Field(
        default=None, ge=3, description="whole months that usage events are kept for; without it they are kept for ever"
    )
    max_body_bytes: int = Field(default=1_048_576, ge=1024)

    def pepper(self) -> bytes:
        """Return the pepper, making and keeping one in the data directory on first use."""
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
