"""A command has one name: its verb, which is the name of its class, and the source of its keys."""

import re
from typing import get_args

import pytest

from tests.core import given
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.idempotency import KeyedCommand, UnkeyedCommand

COMMANDS = get_args(Command)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.verb)
def test_a_verb_is_the_name_of_its_class(command: type[KeyedCommand | UnkeyedCommand]) -> None:
    assert command.verb == re.sub(r"(?<!^)(?=[A-Z])", "_", command.__name__).lower()
    assert issubclass(command, KeyedCommand) is not issubclass(command, UnkeyedCommand)


def test_no_two_commands_have_one_verb() -> None:
    assert len({command.verb for command in COMMANDS}) == len(COMMANDS)


def test_a_key_is_unique_within_its_verb_or_the_source_of_its_event() -> None:
    assert given.reserve().source == "reserve"
    assert given.record(event_source="gateway").source == "event:gateway"
