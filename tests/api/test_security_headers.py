"""Every answer has the headers that browsers look at, also the one that refuses."""

import base64
import hashlib
import re

import pytest

from tests.api.world import World
from token_ledger.api.security_headers import HEADERS


@pytest.mark.parametrize("path", ["/healthz", "/v1/budgets", "/v1/runs/5", "/nowhere", "/openapi.json"])
@pytest.mark.parametrize("with_key", [True, False])
async def test_every_answer_has_them(path: str, with_key: bool, world: World) -> None:
    answer = await world.client.get(path, headers=world.headers() if with_key else {})
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


async def test_the_documentation_page_may_run_its_own_scripts_and_no_other(world: World) -> None:
    page = await world.client.get("/docs")
    policy = page.headers["content-security-policy"]
    [script] = re.findall("<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"


async def test_files_of_the_documentation_may_be_kept(world: World) -> None:
    assert (await world.client.get("/docs/swagger-ui.css")).headers["cache-control"] == "max-age=86400"
