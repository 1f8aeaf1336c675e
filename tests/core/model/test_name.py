"""Names: what has one spelling, what is refused, and with which words."""

import sys
import unicodedata

import pytest

from token_ledger.core.model.name import clean_name

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("ada", "ada"),
        ("Ada", "Ada"),
        ("ada lovelace", "ada lovelace"),
        (" research", "research"),
        ("ada ", "ada"),
        (f"{WHITE_SPACE}ada{WHITE_SPACE}", "ada"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("Zo\u00eb", "Zo\u00eb"),
        ("\u212b", "\u00c5"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        (" " * 2_000 + "ada", "ada"),
        ("x" * 200, "x" * 200),
        ("\u0435" * 128, "\u0435" * 128),
        ("e\u0301" * 128, "\u00e9" * 128),
        ("\ue000", "\ue000"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_a_name_has_one_spelling(sent: str, name: str) -> None:
    assert clean_name(sent) == name
    assert clean_name(name) is name or clean_name(name) == name


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("", "at least one character"),
        (WHITE_SPACE, "at least one character"),
        ("x" * 201, "at most 200 characters; this one has 201"),
        ("\u7814" * 86, "at most 256 bytes of UTF-8; this one has 258"),
        ("\U0001f600" * 65, "at most 256 bytes of UTF-8; this one has 260"),
        ("e\u0301" * 129, "at most 256 bytes of UTF-8; this one has 258"),
        ("\u200b" * 1_000_000, "at most 200 characters; this one has 1,000,000"),
        ("ad\u200ba", r"character 3 is U\+200B \(ZERO WIDTH SPACE\)"),
        ("  ad\u200ba", r"character 5 is U\+200B"),
        ("ada\u200b", r"character 4 is U\+200B"),
        ("a\0", r"character 2 is U\+0000, a control character"),
        ("a\x1f", r"character 2 is U\+001F, a control character"),
        ("a\x1c ", r"character 2 is U\+001C, a control character"),
        ("a\nb", r"character 2 is U\+000A, a control character"),
        ("a\x7f", r"character 2 is U\+007F, a control character"),
        ("a\x9f", r"character 2 is U\+009F, a control character"),
        ("a\u2028b", "a line separator"),
        ("a\u2029b", "a paragraph separator"),
        ("a\ud800", "half of a surrogate pair"),
        ("a\u0378", "not assigned"),
        ("a\uffff", "not assigned"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(sent: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        clean_name(sent)


INVISIBLE = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, 0xFFF0, 0xFFF9, 0xE0000, 0xE0FFF),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0020, 0xE0080),
    *range(0xE0100, 0xE01F0),
)


def test_a_character_that_nobody_sees_is_refused_anywhere_in_a_name() -> None:
    for code in INVISIBLE:
        for name in (f"{chr(code)}ada", f"a{chr(code)}da", f"ada{chr(code)}"):
            with pytest.raises(ValueError, match=f"is U\\+{code:04X}"):
                clean_name(name)


def test_what_is_refused_follows_from_the_category_of_a_character() -> None:
    refused = {"Cc", "Cf", "Zl", "Zp", "Cs", "Cn"}
    for code in (*range(0x3000), *range(0x3000, sys.maxunicode + 1, 53)):
        name = f"a{chr(code)}b"
        if unicodedata.category(chr(code)) in refused:
            with pytest.raises(ValueError, match=f"character 2 is U\\+{code:04X}"):
                clean_name(name)
        elif code not in INVISIBLE:
            assert clean_name(name) == unicodedata.normalize("NFC", name)
