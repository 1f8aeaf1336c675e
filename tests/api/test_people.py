"""People with tokens of an identity provider: valid and invalid tokens, rotated keys, roles."""

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from tests.api.waiting import until
from tests.api.world import Clock, World, check_problem, fresh, open_world
from token_ledger.core.model.principal import Role
from token_ledger.identity import authentication, people, provider_keys
from token_ledger.identity.people import read_person, read_unverified
from token_ledger.storage.identity_providers import IdentityProvider

NOW = 1_800_000_000
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
KEYS = KeySet.import_key_set(KeySet([RSA, EC, ED]).as_dict(private=False))
PROVIDER = IdentityProvider(
    "https://id.acme.test", "ledger", None, "sub", "groups", {"finops": "finance", "root": "admin"}, "user"
)
GOOD: dict[str, Any] = {
    "iss": "https://id.acme.test", "aud": "ledger", "sub": "ada", "iat": NOW, "exp": NOW + 600, "groups": ["finops"],
}  # fmt: skip

DRIP_SECONDS = 0.05
"""How long a provider that drips waits before every byte."""


def signed(algorithm: str = "RS256", key: Any = RSA, header: Any = None, **claims: Any) -> str:
    values = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, values, key, algorithms=[algorithm])


@pytest.mark.parametrize(
    "text",
    [
        signed(),
        signed("ES256", EC),
        signed("Ed25519", ED),
        signed("PS256"),
        signed(aud=["somebody else", "ledger"]),
        signed(exp=NOW - 59),
        signed(nbf=NOW + 59),
    ],
)
def test_a_valid_token_says_who_somebody_is(text: str) -> None:
    person = read_person(PROVIDER, KEYS, text, NOW)
    assert person is not None
    assert (person.name, person.role) == ("ada", Role.FINANCE)
    told = read_unverified(text)
    assert told is not None
    assert (told.issuer, "ledger" in told.audiences) == ("https://id.acme.test", True)


@pytest.mark.parametrize("sent", ["zo\u00eb", "zoe\u0308", " zo\u00eb\u00a0"])
def test_a_person_has_one_name_however_the_provider_spells_it(sent: str) -> None:
    person = read_person(PROVIDER, KEYS, signed(sub=sent), NOW)
    assert person is not None
    assert person.name == "zo\u00eb"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(**header: Any) -> str:
    return f"{part({'alg': 'none', **header})}.{part(GOOD)}."


def altered() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{part({**GOOD, 'groups': ['root']})}.{signature}"


def confused() -> str:
    """A token signed with the provider's public key, as if it were a shared secret."""
    signing = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(GOOD)}"
    signature = hmac.digest(RSA.as_pem(private=False), signing.encode(), "sha256")
    return f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


REFUSED = {
    "empty": "",
    "not a token": "abc",
    "two parts": "a.b",
    "four parts": signed() + ".x",
    "no signature": signed().rsplit(".", 1)[0] + ".",
    "unsigned": unsigned(),
    "unsigned, with a key named": unsigned(kid="rsa"),
    "said to be signed": unsigned(alg="RS256", kid="rsa"),
    "claims altered": altered(),
    "signature of another key of the same name": signed(key=STRANGER),
    "signed with the public key as a secret": confused(),
    "another algorithm's name": signed(header={"kid": "ec"}),
    "a key that is not known": signed(header={"kid": "gone"}),
    "a key of another type": signed("ES256", EC, {"kid": "rsa"}),
    "no key named, of several": jwt.encode({"alg": "RS256"}, GOOD, RSA, algorithms=["RS256"]),
    "an extension that must be understood": signed(header={"crit": ["b64"], "b64": True}),
    "another issuer": signed(iss="https://id.evil.test"),
    "an issuer that begins like it": signed(iss="https://id.acme.test.evil.test"),
    "no issuer": signed(iss=None),
    "an issuer that is a list": signed(iss=["https://id.acme.test"]),
    "another audience": signed(aud="another app"),
    "no audience": signed(aud=None),
    "an audience that is a number": signed(aud=7),
    "other audiences": signed(aud=["a", "b"]),
    "ended": signed(exp=NOW - 61),
    "ended long ago": signed(exp=1),
    "without an end": signed(exp=None),
    "an end that is text": signed(exp="tomorrow"),
    "not yet good": signed(nbf=NOW + 61),
    "made in the future": signed(iat=NOW + 3_600),
    "nobody": signed(sub=None),
    "a number of a person": signed(sub=7),
    "an empty name": signed(sub=""),
    "a name of control characters": signed(sub="ada\x00"),
    "a name without end": signed(sub="a" * 201),
    "a name of too many bytes": signed(sub="\u7814" * 86),
    "a name with a character that nobody sees": signed(sub="ad\u200ba"),
    "a name of white space": signed(sub=" \u00a0"),
    "larger than tokens are": signed(groups=["x" * 20_000]),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_token_is_refused(text: str) -> None:
    told = read_unverified(text)
    person = None if told is None else read_person(PROVIDER, KEYS, text, NOW)
    assert person is None


@pytest.mark.parametrize(
    ("claims", "provider", "role"),
    [
        ({"groups": ["root", "finops"]}, {}, Role.ADMIN),
        ({"groups": "root"}, {}, Role.ADMIN),
        ({"groups": []}, {}, Role.USER),
        ({"groups": None}, {}, Role.USER),
        ({"groups": [7, {"root": 1}, None, "finops"]}, {}, Role.FINANCE),
        ({"groups": ["Root"]}, {"default_role": None}, None),
        ({"realm": {"roles": ["root"]}}, {"role_claim": "realm.roles"}, Role.ADMIN),
        ({"https://acme.test/roles": ["root"]}, {"role_claim": "https://acme.test/roles"}, Role.ADMIN),
        ({"realm": "root"}, {"role_claim": "realm.roles"}, Role.USER),
        ({}, {"role_claim": None, "roles": {}}, Role.USER),
    ],
)
def test_of_several_roles_the_most_powerful_counts(claims: Any, provider: Any, role: Role | None) -> None:
    given = IdentityProvider(**{**{name: getattr(PROVIDER, name) for name in PROVIDER.__slots__}, **provider})
    person = read_person(given, KEYS, signed(**claims), NOW)
    assert (None if person is None else person.role) == role


@pytest.mark.parametrize(("verified", "is_known"), [(True, True), (False, False), (None, False), ("true", False)])
def test_an_email_names_somebody_only_if_it_is_verified(verified: Any, is_known: bool) -> None:
    provider = IdentityProvider(**{**{n: getattr(PROVIDER, n) for n in PROVIDER.__slots__}, "user_claim": "email"})
    person = read_person(provider, KEYS, signed(email="ada@acme.test", email_verified=verified), NOW)
    assert (person is not None) is is_known


class Provider:
    """An identity provider on this machine; tests change what it publishes and count its requests."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA]
        self.asked: list[str] = []
        self.is_away = False
        self.published: dict[str, str] = {}
        self.redirects_to: str | None = None
        self.drips = threading.Event()
        """Cleared, an answer never ends: a byte comes now and then."""
        self.drips.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(503 if outer.is_away else 302 if outer.redirects_to else 200)
                if outer.redirects_to:
                    self.send_header("Location", outer.redirects_to)
                self.end_headers()
                while not outer.drips.wait(DRIP_SECONDS):
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return
                self.wfile.write((outer.published.get(self.path) or json.dumps(outer.document(self.path))).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.drips.set()
        self.server.shutdown()
        self.server.server_close()

    def document(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        return KeySet(self.keys).as_dict(private=False)

    def token(self, key: Any = RSA, algorithm: str = "RS256", **claims: Any) -> str:
        now = int(time.time())
        return signed(algorithm, key, **{"iss": self.issuer, "iat": now, "exp": now + 600, **claims})


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.close()


@pytest.fixture
async def world(database_url: str, tmp_path: Path, provider: Provider) -> AsyncIterator[World]:
    """A service whose tenant acme trusts the provider."""
    async with open_world(database_url, tmp_path, identity_provider_networks="127.0.0.0/8") as opened:
        await trust(opened, provider)
        yield opened


def body_of(provider: Provider, **fields: Any) -> dict[str, Any]:
    return {
        "issuer": provider.issuer, "audience": "ledger", "role_claim": "groups",
        "roles": {"finops": "finance", "root": "admin", "bots": "agent"}, "default_role": "user", **fields,
    }  # fmt: skip


def path_of(world: World, tenant: str = "acme") -> str:
    return f"/v1/tenants/{world.tenants[tenant]}/identity-providers"


async def trust(world: World, provider: Provider, tenant: str = "acme", **fields: Any) -> str:
    added = await world.made(path_of(world, tenant), body_of(provider, **fields), tenant="operator", role=Role.OPERATOR)
    return str(added["provider_id"])


async def asks(world: World, token: str, path: str = "/v1/reports/spend", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return await world.client.request(options.pop("method", "GET"), path, headers=headers, **options)


async def test_people_may_do_what_their_role_allows(world: World, provider: Provider) -> None:
    finance, admin, user = (provider.token(groups=groups, sub=name) for groups, name in (
        (["finops"], "fay"), (["root"], "rob"), ([], "ada"),
    ))  # fmt: skip
    assert (await asks(world, finance)).status_code == 200
    budget = {"idempotency_key": fresh(), "name": "cap", "selector": {}, "limits": {"tokens": 9}, "window": "total"}
    check_problem(await asks(world, finance, "/v1/budgets", method="POST", json=budget), 403, "forbidden")
    assert (await asks(world, admin, "/v1/budgets", method="POST", json=budget)).status_code == 201
    check_problem(await asks(world, user), 403, "forbidden")
    assert (await asks(world, user, "/v1/me")).status_code == 200
    audit = (await world.get("/v1/audit")).json()["audit"]
    assert [entry["actor"] for entry in audit if entry["action"] == "budget.create"] == ["person:rob"]
    check_problem(
        await asks(world, admin, "/v1/tokens", method="POST", json={"user": "ada"}), 403, "forbidden"
    )  # fmt: skip


async def test_a_user_sees_only_what_is_theirs(world: World, provider: Provider) -> None:
    mine = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada"})
    other = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "bob"})
    token = provider.token(sub="ada", groups=[])
    assert [run["run_id"] for run in (await asks(world, token, "/v1/runs")).json()["runs"]] == [mine["run_id"]]
    check_problem(await asks(world, token, f"/v1/runs/{other['run_id']}"), 404, "run_not_found")
    assert (await asks(world, token, f"/v1/runs/{mine['run_id']}/cancel", method="POST")).status_code == 200


async def test_an_audience_means_one_tenant(world: World, provider: Provider) -> None:
    await trust(world, provider, "globex", audience="ledger of globex")
    taken = await world.post(path_of(world, "globex"), body_of(provider), tenant="operator", role=Role.OPERATOR)
    check_problem(taken, 409, "identity_provider_exists", "audience")
    await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "eve"}, tenant="globex")
    there = provider.token(aud="ledger of globex", groups=["bots"])
    here = provider.token(groups=["bots"])
    assert [run["user"] for run in (await asks(world, there, "/v1/runs")).json()["runs"]] == ["eve"]
    assert (await asks(world, here, "/v1/runs")).json()["runs"] == []


async def test_keys_are_rotated(world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await asks(world, provider.token())).status_code == 200
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    monkeypatch.setattr(provider_keys, "FETCH_AGAIN_SECONDS", 0.0)
    provider.keys = [RSA, EC]
    assert (await asks(world, provider.token(EC, "ES256"))).status_code == 200
    assert len(provider.asked) == 4
    provider.keys = [EC]
    assert (await asks(world, provider.token(sub="still believed"))).status_code == 200
    monkeypatch.setattr(provider_keys, "KEYS_TRUST_SECONDS", 0.0)
    check_problem(await asks(world, provider.token(sub="no more")), 401, "unauthenticated")


async def test_made_up_key_names_do_not_cause_a_fetch_each(world: World, provider: Provider) -> None:
    for number in range(20):
        token = provider.token(STRANGER, sub=f"user-{number}").split(".")
        token[0] = part({"alg": "RS256", "kid": f"made-up-{number}"})
        check_problem(await asks(world, ".".join(token)), 401, "unauthenticated")
    assert len(provider.asked) == 2


async def test_while_a_provider_is_down_its_last_keys_stay_trusted(
    world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_keys, "FETCH_AGAIN_SECONDS", 0.0)
    provider.is_away = True
    check_problem(await asks(world, provider.token()), 503, "unavailable")
    provider.is_away = False
    assert (await asks(world, provider.token())).status_code == 200
    provider.is_away = True
    monkeypatch.setattr(provider_keys, "KEYS_TRUST_SECONDS", 0.0)
    assert (await asks(world, provider.token(sub="another"))).status_code == 200


DEEP = "[" * 100_000
UNUSABLE: dict[str, Any] = {
    "nested without end": {"/keys": DEEP},
    "no JSON": {"/keys": "<html>"},
    "not an object": {"/keys": "[]"},
    "no keys": {"/keys": "{}"},
    "keys of no kind": {"/keys": '{"keys": [{"kty": "RSA", "n": 7}]}'},
    "more than a megabyte": {"/keys": json.dumps({"keys": [], "more": "x" * 1_000_000})},
    "half of a surrogate pair": {"/keys": '{"keys": [{"kty": "oct", "k": "\\ud800"}]}'},
    "a discovery document nested without end": {"/.well-known/openid-configuration": DEEP},
    "a discovery document of another issuer": {
        "/.well-known/openid-configuration": json.dumps({"issuer": "https://id.evil.test", "jwks_uri": "x"})
    },
}


@pytest.mark.parametrize("published", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_what_a_provider_publishes_is_never_our_fault_and_is_not_fetched_for_every_token(
    published: dict[str, str], world: World, provider: Provider
) -> None:
    provider.published = published
    check_problem(await asks(world, provider.token()), 401, "unauthenticated")
    asked = list(provider.asked)
    for number in range(5):
        check_problem(await asks(world, provider.token(sub=f"user-{number}")), 401, "unauthenticated")
    assert provider.asked == asked


async def test_a_fetch_that_nobody_waits_for_any_more_counts_too(world: World, provider: Provider) -> None:
    provider.drips.clear()
    asking = asyncio.create_task(asks(world, provider.token()))

    async def is_asked() -> bool:
        return bool(provider.asked)

    await until(is_asked)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    check_problem(await asks(world, provider.token(sub="another")), 503, "unavailable")
    assert len(provider.asked) == 1


async def test_a_provider_that_drips_is_given_up_in_time(
    world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_keys, "FETCH_SECONDS", 0.3)
    provider.drips.clear()
    # It never says the last byte, and every byte restarts a time-out between two bytes.
    check_problem(await asks(world, provider.token()), 503, "unavailable")
    assert len(provider.asked) == 1


@pytest.mark.parametrize("answer", ["redirect", "discovery"])
async def test_no_provider_can_send_the_service_elsewhere(answer: str, world: World, provider: Provider) -> None:
    elsewhere = Provider()
    try:
        target = elsewhere.issuer.replace("127.0.0.1", "127.0.0.2" if answer == "discovery" else "127.0.0.1")
        if answer == "redirect":
            provider.redirects_to = f"{elsewhere.issuer}/keys"
        else:
            document = json.dumps({"issuer": provider.issuer, "jwks_uri": f"{target.replace('http', 'ftp')}/keys"})
            provider.published = {"/.well-known/openid-configuration": document}
        check_problem(await asks(world, provider.token()), 503, "unavailable")
        assert elsewhere.asked == []
    finally:
        elsewhere.close()


async def test_people_of_a_removed_provider_are_refused(world: World, provider: Provider) -> None:
    token = provider.token()
    assert (await asks(world, token)).status_code == 200
    listed = await world.get(path_of(world), tenant="operator", role=Role.OPERATOR)
    [known] = listed.json()["identity_providers"]
    gone = await world.delete(f"{path_of(world)}/{known['provider_id']}", tenant="operator", role=Role.OPERATOR)
    assert gone.status_code == 200
    check_problem(await asks(world, token), 401, "unauthenticated")
    again = await world.delete(f"{path_of(world)}/{known['provider_id']}", tenant="operator", role=Role.OPERATOR)
    check_problem(again, 404, "not_found", "provider_id")
    actions = [entry["action"] for entry in (await world.get("/v1/audit")).json()["audit"]]
    assert [action for action in actions if action.startswith("identity")] == [
        "identity_provider.add", "identity_provider.remove",
    ]  # fmt: skip


async def test_a_token_is_not_trusted_after_it_expires(
    world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "LEEWAY_SECONDS", 0)
    monkeypatch.setattr(authentication, "KEY_TRUST_SECONDS", 3_600.0)
    clock = Clock()
    monkeypatch.setattr(people, "time", clock)
    monkeypatch.setattr(authentication, "time", clock)
    token = provider.token(exp=clock.now + 600)
    for passed in (0, 599):
        clock.now += passed
        assert (await asks(world, token)).status_code == 200
    clock.now += 1
    check_problem(await asks(world, token), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"issuer": "http://id.acme.test"}, "issuer"),
        ({"issuer": "ftp://id.acme.test"}, "issuer"),
        ({"issuer": "id.acme.test"}, "issuer"),
        ({"jwks_url": "http://10.0.0.7/keys"}, "jwks_url"),
        ({"jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"issuer": "https://169.254.169.254"}, "issuer"),
        ({"issuer": "https://10.0.0.7"}, "issuer"),
        ({"issuer": "https://[fe80::1]"}, "issuer"),
        ({"issuer": "https://[::ffff:10.0.0.7]"}, "issuer"),
        ({"jwks_url": "https://192.168.0.1/keys"}, "jwks_url"),
        ({"roles": {"root": "operator"}}, "roles.root"),
        ({"default_role": "operator"}, "default_role"),
        ({"roles": {}, "default_role": None}, "roles"),
        ({"role_claim": None}, "role_claim"),
        ({"audience": ""}, "audience"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_an_invalid_provider_is_refused(fields: Any, field: str, world: World, provider: Provider) -> None:
    body = body_of(provider, audience=fresh()) | fields
    refused = await world.post(path_of(world), body, tenant="operator", role=Role.OPERATOR)
    check_problem(refused, 422, "invalid_request", field)
