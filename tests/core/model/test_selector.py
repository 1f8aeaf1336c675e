"""Selectors: a name, a list of names, a prefix or `*` per dimension, and nothing else that has a star."""

import json
from typing import Any

import pytest

from token_ledger.core.model.selector import (
    LONGEST_SUBJECT_BYTES,
    any_dimensions,
    longest_subject_bytes,
    parse_selector,
    selects,
)
from token_ledger.core.model.subject import Subject

WORST = '"' * 100 + "\\" * 100  # 200 characters, each of two bytes in JSON
EVERYTHING_OPEN = ("agent_type", "cost_center", "model", "provider", "request_type", "tag.team", "tool", "user")


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("ada", "ada"), (" ada ", "ada"), ("e\u0301va", "éva"), ("*", "*"), ("team-*", "team-*"), (" team-*", "team-*"),
        ("team *", "team *"), ("x*", "x*"), (["bob", "ada"], ("ada", "bob")), (["ada"], "ada"), ([" ada"], "ada"),
        ([f"u{n:03}" for n in range(100)], tuple(f"u{n:03}" for n in range(100))),
    ],
)  # fmt: skip
def test_what_matches_has_one_spelling(given: Any, means: Any) -> None:
    assert parse_selector({"user": given}) == (("user", means),)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("**", "'**'"), ("*@corp.com", "'*@corp.com'"), (" *", "' *'"), ("* ", "'* '"), ("a*b", "'a*b'"),
        ("a**", "'a**'"), ("*a*", "'*a*'"), (" * ", "' * '"), ("\t*", r"'\t*'"),
        ("", "needs a value"), ("  ", "needs a value"), ("a\u200bb", "character 2"), ("a\u200b*", "character 2"),
        ("x" * 201, "at most 200"), ("x" * 200 + "*", "at most 200"), (["ada", "ada"], "'ada' is listed twice"),
        (["ada", " ada"], "'ada' is listed twice"), ([], "1 to 100 names, not 0"),
        ([str(n) for n in range(101)], "1 to 100 names, not 101"), (["ada", "*"], "'*' is in a list"),
        (["ada", "team-*"], "'team-*' is in a list"), (["ada", ""], "needs a value"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match="user") as refused:
        parse_selector({"user": given})
    assert says in str(refused.value)
    if isinstance(given, str) and "*" in given and "\u200b" not in given and len(given) < 100:
        assert 'use a name, a list of names, a prefix such as "team-*", or "*"' in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "chosen", "others"),
    [
        ("ada", ["ada"], ["Ada", "adam", "bob"]),
        (("ada", "bob"), ["ada", "bob"], ["ada,bob", "a", ""]),
        ("team-*", ["team-", "team-a", "team-*"], ["team", "Team-a", "a team-a"]),
        ("*", ["ada", "*", "team-a"], []),
    ],
)
def test_a_selector_chooses_the_values_that_it_says(wanted: Any, chosen: list[str], others: list[str]) -> None:
    assert [value for value in (*chosen, *others) if selects(wanted, value)] == chosen


def test_only_a_star_gives_every_value_an_account() -> None:
    selector = parse_selector({"user": "*", "model": "gpt-*", "tool": ["a", "b"], "provider": "openai", "tag.x": "*"})
    assert any_dimensions(selector) == ("tag.x", "user")


@pytest.mark.parametrize("most", range(len(EVERYTHING_OPEN) + 1))
def test_no_subject_is_longer_than_its_dimensions_say(most: int) -> None:
    dimensions = EVERYTHING_OPEN[:most]
    longest = len(Subject(dict.fromkeys(dimensions, WORST)).text.encode())
    assert longest <= longest_subject_bytes(dimensions)
    if most <= 4:
        assert longest_subject_bytes(dimensions) <= LONGEST_SUBJECT_BYTES


def test_an_id_takes_less_room_than_a_name() -> None:
    assert longest_subject_bytes(("run",)) == len(json.dumps({"run": str(2**63 - 1)}, separators=(":", ",")) + ",")
