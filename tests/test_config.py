"""Every setting is explained, with an example that it accepts, and none shows a secret."""

import pytest
from pydantic import SecretStr

from token_ledger.config import Settings


def test_what_is_printed_of_settings_has_no_secret_in_it() -> None:
    shown = Settings(database_url="postgresql://u:secret@db/ledger", key_pepper=SecretStr("secret"))
    assert "secret" not in f"{shown!r} {shown}"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_has_a_description_and_an_accepted_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    assert field.examples
    for example in field.examples:
        monkeypatch.setenv(f"TOKEN_LEDGER_{name.upper()}", str(example))
        assert name in Settings().model_fields_set
