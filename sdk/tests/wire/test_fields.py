"""Reading answers: each field by its type, and errors that name the field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from token_ledger_sdk import InvalidAnswer
from token_ledger_sdk.wire.fields import Fields


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    size: int = 1


NO_PART = Part("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    text: str
    nothing: str | None
    number: int | None
    flag: bool
    money: Decimal
    amount: int | Decimal | None
    time: datetime
    part: Part = NO_PART
    optional_part: Part | None
    parts: tuple[Part, ...]
    counts: tuple[int, ...]
    words: tuple[str, ...]
    names: dict[str, str]
    word: str = "none"


LEAST: dict[str, Any] = {"text": "a", "money": "0.10", "time": "2026-11-20T12:00:00Z"}
TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_every_field_is_read_by_its_type() -> None:
    body = {
        **LEAST,
        "number": 2,
        "flag": True,
        "amount": "1.5",
        "part": {"name": "b", "size": 3},
        "optional_part": {"name": "c", "unknown": 1},
        "parts": [{"name": "d"}],
        "counts": [1, 2],
        "words": ["images", "service_tier"],
        "names": {"user": "ana"},
        "word": "more",
        "a_field_of_tomorrow": {},
    }
    assert Fields(body).read(Whole) == Whole(
        text="a",
        nothing=None,
        number=2,
        flag=True,
        money=Decimal("0.10"),
        amount=Decimal("1.5"),
        time=TIME,
        part=Part("b", 3),
        optional_part=Part("c"),
        parts=(Part("d"),),
        counts=(1, 2),
        words=("images", "service_tier"),
        names={"user": "ana"},
        word="more",
    )


@pytest.mark.parametrize(
    "null", [{}, dict.fromkeys(("part", "optional_part", "parts", "counts", "words", "names", "word"))]
)
def test_what_is_absent_or_null_has_a_default(null: dict[str, None]) -> None:
    whole = Fields(LEAST | null).read(Whole)
    assert (whole.nothing, whole.number, whole.amount, whole.flag) == (None, None, None, False)
    assert (whole.part, whole.optional_part, whole.word) == (NO_PART, None, "none")
    assert (whole.parts, whole.counts, whole.words, whole.names) == ((), (), (), {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": None}, r"answer\.text is NoneType, not a string"),
        ({"money": 1}, r"answer\.money is int, not a decimal string"),
        ({"parts": [{"name": "a"}, {"size": 2}]}, r"answer\.parts\[1\]\.name is NoneType, not a string"),
        ({"part": []}, r"answer\.part is list, not an object"),
        ({"flag": None}, r"answer\.flag is NoneType, not a boolean"),
    ],
)
def test_what_does_not_fit_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidAnswer, match=said):
        Fields(LEAST | wrong).read(Whole)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 1),
        ("integer", "1"),
        ("integer", True),
        ("integer", 1.0),
        ("flag", "yes"),
        ("flag", None),
        ("money", 1.5),
        ("money", "much"),
        ("time", "yesterday"),
        ("time", "2026-01-01T00:00:00"),
        ("child", []),
        ("children", {}),
        ("children", [1]),
        ("texts", {"a": 1}),
        ("names", ["a", 1]),
        ("names", "a"),
        ("quantity", True),
    ],
)
def test_wrong_fields_are_named(method: str, value: object) -> None:
    with pytest.raises(InvalidAnswer, match=r"answer\.x"):
        getattr(Fields({"x": value}), method)("x")
