"""What the pages show can be done as they show it: their commands are run against a service."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.documents.pages import REPOSITORY, blocks, expected_statuses, run_page
from tests.faults.processes import COMMAND, PEPPER, ServiceProcess
from tests.storage.conftest import shared_url
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings

__all__ = ["shared_url"]

PAGES = sorted(
    page
    for page in ("README.md", *(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")))
    if any(block.language in ("sh", "python") for block in blocks(page))
)


@pytest.fixture(scope="module")
async def variables(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, str]]:
    """The environment of somebody who has started a service."""
    directory = tmp_path_factory.mktemp("service")
    process = ServiceProcess(shared_url, directory, {}).start()
    try:
        await process.ready(60)
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")},
            "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
            "TOKEN_LEDGER_DATABASE_URL": shared_url,
            "TOKEN_LEDGER_DATA_DIR": str(directory / "data"),
            "TOKEN_LEDGER_KEY_PEPPER": PEPPER,
            "TOKEN_LEDGER_URL": process.url,
            "URL": process.url,
        }
    finally:
        process.end()


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_shows_can_be_done(page: str, variables: Mapping[str, str], tmp_path: Path) -> None:
    tenant = Path(page).stem
    settings = Settings(key_pepper=SecretStr(PEPPER))
    _, key = await make_tenant(settings, variables["TOKEN_LEDGER_DATABASE_URL"], tenant, "UTC")
    await asyncio.to_thread(run_page, page, tenant, tmp_path, {**variables, "KEY": key, "TOKEN_LEDGER_KEY": key})


def test_statuses_are_read_from_comments() -> None:
    text = "tl $URL/v1/stop -d '{\n}'   # 422: no reason\nID=$(tl $URL/v1/runs)\ntl -X DELETE $URL/a  # 404\n"
    assert expected_statuses(text) == ["422", "2xx", "404"]
