"""Knows keys and tokens by their form, so that one which somebody sent by mistake is said and stored nowhere.

Names and texts with one in them are refused at the door. Logs and problems, which may quote anything, leave it out.
"""

import re
from typing import Final

_KEY: Final = r"(?P<key>tl_[a-z0-9]{1,16}_[0-9A-Za-z]{1,30}_)[0-9A-Za-z]{20}[\w-]*"
_JWT: Final = r"(?P<token>eyJ)[\w-]{10,}\.[\w-]+\.?[\w-]*"
_LOGIN: Final = r"(?P<login>://[^\s:/?#@]*:)(?!…@)[^\s@/]+(?=@)"
_SECRET: Final = re.compile(f"{_KEY}|{_JWT}|{_LOGIN}", re.ASCII)

FOUND: Final = "it has a key, a token or a password in it; leave that out, and revoke it if others could see it"


def _may_have_secret(text: str) -> bool:
    """Return whether a text has what every secret has one of; this takes a fifth of the search."""
    return "tl_" in text or "eyJ" in text or "://" in text


def has_secret(text: str) -> bool:
    """Return whether a text has a key, a token or an address with a password in it."""
    return _may_have_secret(text) and _SECRET.search(text) is not None


def without_secrets(text: str) -> str:
    """Return a text with … in place of each secret; the part of a key that names it stays."""
    if not _may_have_secret(text):
        return text
    return _SECRET.sub(lambda found: f"{found['key'] or found['token'] or found['login']}…", text)
