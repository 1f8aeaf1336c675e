"""Writes the list of routes from the OpenAPI document that the service serves."""

from pathlib import Path

from pydantic import SecretStr

from tests.documents.markdown import table
from token_ledger.api.app import create_app
from token_ledger.config import Settings
from token_ledger.runtime import Service


def routes() -> str:
    """Return a table for every group of routes."""
    settings = Settings(key_pepper=SecretStr("of a document"), data_dir=Path("."))
    document = create_app(Service(settings, "postgresql://nobody@127.0.0.1:1/none")).openapi()
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            row = f"`{method.upper()} {path}`", operation["summary"]
            groups.setdefault(operation["tags"][0], []).append(row)
    return "\n\n".join(
        f"## {group.capitalize()}\n\n{table(('route', 'what it does'), rows)}" for group, rows in sorted(groups.items())
    )
