"""Everybody who can send a request, with what they send as proof, and what is there for them to find."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.api.test_people import Provider, trust
from tests.api.verbs import named_ids
from tests.api.world import World
from token_ledger.core.model.principal import Role

NAMES = (
    "nobody", "stranger", "agent", "finance", "admin", "operator", "user token", "run token", "person as admin",
    "person as user",
)  # fmt: skip
"""Without a key, with one that is not known, with a key of each role, with both kinds of short-lived token, and people
who signed in."""
_MUCH_LATER = 4_000_000_000


@dataclass(frozen=True)
class Caller:
    """Somebody who sends requests; `role` is what they may do, `key_id` names the key that they send."""

    tenant: str
    role: Role | None
    headers: Mapping[str, str]
    known: Mapping[str, str]
    """Values of names that they can know: ids of one of everything, and a model."""
    key_id: str | None


async def caller_named(name: str, world: World, provider: Provider, tenant: str) -> Caller:
    """Make a tenant with one of everything, and return one of its callers."""
    await world.add_tenant(tenant)
    ids = await named_ids(world, tenant)
    role, credential = await _credential(name, world, provider, tenant, int(ids["run_id"]))
    key_id = credential.split("_")[2] if credential.startswith("tl_") else None
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    known = {**ids, "provider": "openai", "model": "gpt-5.4-mini", "agent_type": "data_agent"}
    return Caller(tenant, role, headers, known, key_id)


async def _credential(
    name: str, world: World, provider: Provider, tenant: str, run_id: int
) -> tuple[Role | None, str]:  # fmt: skip
    match name:
        case "nobody":
            return None, ""
        case "stranger":
            return None, world.keys[tenant, Role.ADMIN][:-1] + "z"
        case "operator":
            return Role.OPERATOR, world.keys["operator", Role.OPERATOR]
        case "user token":
            return Role.USER, world.token(tenant, user="ada", ttl_seconds=86_400)
        case "run token":
            return Role.USER, world.token(tenant, run_id=run_id, ttl_seconds=86_400)
        case "person as admin" | "person as user":
            await trust(world, provider, tenant, audience=tenant)
            role, groups = (Role.ADMIN, ["root"]) if name == "person as admin" else (Role.USER, [])
            return role, provider.token(aud=tenant, groups=groups, sub="ada", exp=_MUCH_LATER)
    return Role(name), world.keys[tenant, Role(name)]
