"""The SDK and the service know the same kinds of use."""

from dataclasses import fields

from token_ledger_sdk import Usage

from token_ledger.core.model.other_kinds import OTHER_KINDS
from token_ledger.core.model.usage import KINDS


def test_the_sdk_has_every_kind_of_the_service_and_no_other() -> None:
    assert {field.name for field in fields(Usage)} == {*KINDS, *OTHER_KINDS}
