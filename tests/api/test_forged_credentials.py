"""Whatever is sent as a key or token: 401, and never an error of the service."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.api.world import World
from token_ledger.identity.people import ALGORITHMS


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def _raw(header: str, payload: str) -> str:
    return f"{_part(header)}.{_part(payload)}.{_part('signature')}"


def _token(header: Any, payload: Any) -> str:
    return _raw(json.dumps(header), json.dumps(payload))


ISSUER = "https://id.acme.test"
HEADER: dict[str, Any] = {"alg": "RS256", "kid": "k"}
PAYLOAD: dict[str, Any] = {"iss": ISSUER, "aud": "ledger", "sub": "ada", "exp": 4_000_000_000}
FORGED = {
    "half of a surrogate pair in the issuer": _token(HEADER, {**PAYLOAD, "iss": "https://id\ud800"}),
    "half of a surrogate pair in the audience": _token(HEADER, {**PAYLOAD, "aud": "\udfff"}),
    "half of a surrogate pair in the key's name": _token({**HEADER, "kid": "\ud800"}, PAYLOAD),
    "a header nested without end": _raw("[" * 9_000, "{}"),
    "a payload nested without end": _raw(json.dumps(HEADER), "[" * 9_000),
    "our own header nested without end": _raw('{"alg": "HS256", "x": ' + "[" * 9_000, "{}"),
    "an end without end": _token(HEADER, {**PAYLOAD, "exp": float("inf")}),
    "a number of 4,000 digits": _raw(json.dumps(HEADER), '{"exp": ' + "9" * 5_000 + "}"),
    "longer than any token": "a." * 100_000,
    "a key with a control character": "tl_test_1k\x00_abc00000000",
    "a key of a tenant without end": f"tl_test_{'9' * 30}kabc_abc00000000",
    "characters of no key": "tl_tést_1k²_x",
}


@pytest.mark.parametrize("credential", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_credential_is_nobody(credential: str, world: World) -> None:
    assert await world.service.authenticator.authenticate(credential) is None


_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _text | st.sampled_from([ISSUER, "ledger"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)


def _mutated(values: dict[str, Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from([*values, "crit", "nbf", "iat", "b64", "jwk", "x5c", "enc", "zip"])
    return st.one_of(_json, st.dictionaries(names, _json, max_size=3).map(lambda changes: {**values, **changes}))


_header = _mutated(HEADER) | st.sampled_from([*ALGORITHMS, "HS256", "none"]).map(lambda name: {**HEADER, "alg": name})
_credential = st.one_of(
    st.builds(_token, _header, _mutated(PAYLOAD)),
    st.lists(_text, min_size=1, max_size=5).map(".".join),
    _text.map(lambda text: f"tl_test_1k{text}_x"),
    st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")),
).map(lambda credential: credential.encode("latin-1", "replace").decode("latin-1"))  # as a header is read


@seed(20261128)
@settings(
    max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(credential=_credential)
async def test_any_other_made_up_credential_is_nobody(credential: str, world: World) -> None:
    assert await world.service.authenticator.authenticate(credential) is None
