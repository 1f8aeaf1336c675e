"""Prepares what a laptop needs in the embedded PostgreSQL: the schema, a tenant, and keys in a file."""

import asyncio
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from token_ledger.cli.database import prepare_database
from token_ledger.cli.keys import make_key
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings
from token_ledger.core.model.principal import Role

LAPTOP_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys of a laptop's own service, in a file beside its data that only its user can read."""

    tenant: str
    admin_key: str = field(repr=False)
    operator_key: str = field(repr=False)


def prepare_laptop(settings: Settings, url: str) -> Credentials:
    """Bring the embedded PostgreSQL to this version's schema, and return the keys of its first tenant."""
    prepare_database(url)
    return _credentials(settings, url)


def _credentials(settings: Settings, url: str) -> Credentials:
    path: Path = settings.data_dir / "credentials.json"
    if path.exists():
        return Credentials(**json.loads(path.read_text()))
    credentials = asyncio.run(_make_credentials(settings, url))
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(credentials), file)
    return credentials


async def _make_credentials(settings: Settings, url: str) -> Credentials:
    try:
        _, admin_key = await make_tenant(settings, url, LAPTOP_TENANT, "UTC")
    except ValueError:  # the data outlived the file: the tenant gets another key
        admin_key = await make_key(settings, url, LAPTOP_TENANT, Role.ADMIN, "laptop")
    operator_key = await make_key(settings, url, "", Role.OPERATOR, "laptop")
    return Credentials(LAPTOP_TENANT, admin_key, operator_key)
