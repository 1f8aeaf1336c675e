"""Reads names and other words that are given on the command line, by the rules of the API."""

from pydantic import TypeAdapter, ValidationError

from token_ledger.core.model.name import clean_name
from token_ledger.wire.fields import Words

_WORDS = TypeAdapter[str](Words)


def read_name(what: str, text: str) -> str:
    """Return the one spelling of a name; ValueError, which says what it is for, if the API would refuse it."""
    try:
        return clean_name(text)
    except ValueError as error:
        raise ValueError(f"{what} {text!r}: {error}") from None


def read_words(what: str, text: str) -> str:
    """Return a text as it is; ValueError, which says what it is for, if the API would refuse it."""
    try:
        return _WORDS.validate_python(text)
    except ValidationError:
        raise ValueError(f"{what} {text!r} must have 1 to 200 characters, all of them printable") from None
