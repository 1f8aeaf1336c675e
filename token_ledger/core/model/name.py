"""Owns how a name is spelled, so that two spellings that look the same are one user, one budget, one model.

Every name that comes in goes through `clean_name`, whatever the door: requests, files, the command line, tokens. Case
stays. Which characters exist follows from the Unicode version of this Python.
"""

import re
import unicodedata

from token_ledger.core.model.secrets import FOUND, has_secret

MOST_CHARACTERS = 200
MOST_BYTES = 256
"""The longest name in UTF-8. An entry of an index has 2,700 bytes, and up to four names."""

_WHITE_SPACE = "".join(
    map(chr, (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000))
)
"""Unicode's property White_Space. `str.strip()` would also take four control characters."""
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's property Default_Ignorable_Code_Point: characters that nobody sees."""
_REFUSED = {
    "Cc": "a control character",
    "Cf": "an invisible or format character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Cs": "half of a surrogate pair",
    "Cn": "not assigned to a character",
}
"""What is refused, by Unicode's general category."""
_MOST_COMPOSED = 4
"""NFC makes one character of at most this many."""
_TOO_LONG = f"a name has at most {MOST_CHARACTERS} characters; this one has {{:,}}"


def clean_name(text: str) -> str:
    """Return the one spelling of a name: composed (NFC), without white space around it.

    Raises ValueError for a name without characters, with more than 200 of them or 256 bytes of UTF-8, or with one that
    is invisible or unassigned; it says which, and its position in `text`, counted from 1. And for one with a key or
    token in it, because names are on metrics and in reports.
    """
    if has_secret(text):
        raise ValueError(FOUND)
    # Nearly every name is plain ASCII, and a request has up to twenty of them.
    if text.isascii() and text.isprintable() and 0 < len(text) <= MOST_CHARACTERS and text[0] != " " != text[-1]:
        return text
    stripped = text.strip(_WHITE_SPACE)
    if len(stripped) > MOST_CHARACTERS * _MOST_COMPOSED:
        raise ValueError(_TOO_LONG.format(len(stripped)))
    if not stripped.isprintable() or _IGNORABLE.search(stripped):
        _check_characters(stripped, len(text) - len(text.lstrip(_WHITE_SPACE)) + 1)
    name = unicodedata.normalize("NFC", stripped)
    _check_length(name)
    return name


def _check_characters(text: str, first: int) -> None:
    """Raise ValueError for the first refused character, if any; `first` is the position of the text's first one."""
    for position, character in enumerate(text, first):
        category = "Cf" if _IGNORABLE.match(character) else unicodedata.category(character)
        if category in _REFUSED:
            known = unicodedata.name(character, "")
            code_point = f"U+{ord(character):04X}" + (f" ({known})" if known else "")
            raise ValueError(f"character {position} is {code_point}, {_REFUSED[category]}; leave it out of the name")


def _check_length(name: str) -> None:
    if not name:
        raise ValueError("a name has at least one character that is not white space")
    if len(name) > MOST_CHARACTERS:
        raise ValueError(_TOO_LONG.format(len(name)))
    size = len(name.encode())
    if size > MOST_BYTES:
        raise ValueError(f"a name has at most {MOST_BYTES} bytes of UTF-8; this one has {size:,}")
