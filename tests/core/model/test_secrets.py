"""What is known as a key, a token or a password by its form, and what is left of a text without it."""

import pytest

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.secrets import has_secret, without_secrets

KEY_ID = "7kAbCdEfGhIj"
KEY = f"tl_live_{KEY_ID}_{'a1B2' * 8}0badcafe"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9m_LXRoaXM"
FOUND = {
    "a key": (KEY, f"tl_live_{KEY_ID}_…"),
    "a mistyped key": (KEY[:-1] + "-", f"tl_live_{KEY_ID}_…"),
    "a key in a text": (f"Bearer {KEY}, not known", f"Bearer tl_live_{KEY_ID}_…, not known"),
    "a key in an address": (f"/v1/runs?key={KEY}&x=1", f"/v1/runs?key=tl_live_{KEY_ID}_…&x=1"),
    "a key in JSON": (f'{{"user": "{KEY}"}}', f'{{"user": "tl_live_{KEY_ID}_…"}}'),
    "a token": (JWT, "eyJ…"),
    "a token in a text": (f"({JWT})", "(eyJ…)"),
    "a token without a signature": (JWT.rsplit(".", 1)[0] + ".", "eyJ…"),
    "an address with a password": ("postgresql://ledger:p%40ss@db/ledger", "postgresql://ledger:…@db/ledger"),
    "an address with a password alone": ("redis://:secret@cache:6379/0", "redis://:…@cache:6379/0"),
    "two of them": (f"{KEY} {JWT}", f"tl_live_{KEY_ID}_… eyJ…"),
}  # fmt: skip
HARMLESS = (
    "", "ada", "tl_live", "tl_live_1kabc", f"tl_live_{KEY_ID}", "eyJ", "https://id.acme.test:8443/keys?x=a@b",
    "http://127.0.0.1:8080/v1", "ada@acme.test", "gpt-5.4-mini", "a://b", "tl_tools/read_file_and_summarize",
)  # fmt: skip


@pytest.mark.parametrize(("text", "left"), FOUND.values(), ids=FOUND.keys())
def test_a_secret_is_found_and_left_out(text: str, left: str | None) -> None:
    assert has_secret(text)
    assert not has_secret(without_secrets(text))
    if left is not None:
        assert without_secrets(text) == left


@pytest.mark.parametrize("text", HARMLESS)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert not has_secret(text)
    assert without_secrets(text) == text


@pytest.mark.parametrize("name", [KEY, f"ada {KEY}", JWT])
def test_a_name_with_a_secret_in_it_is_refused_without_saying_it(name: str) -> None:
    with pytest.raises(ValueError, match="a key, a token or a password in it") as refused:
        clean_name(name)
    assert not has_secret(str(refused.value))
