"""Owns what makes a command idempotent: its verb, its key, and the fingerprint of its request.

A key is unique within its source: the verb, and the kind of principal that it comes from, so that nobody can take a
key that somebody with other rights will use. Keys of the kind that a verb is made for have the verb alone. The
fingerprint tells whether a repeated key carries the same request.
"""

from dataclasses import field, replace
from hashlib import blake2b
from typing import ClassVar, Self

from token_ledger.core.model.frozen import value
from token_ledger.core.model.principal import Role


def fingerprint(request: bytes) -> bytes:
    """Return the 16 bytes that stand for a request's canonical text."""
    return blake2b(request, digest_size=16).digest()


@value
class KeyedCommand:
    """A command that is done once per key. `verb` is the one name of the command: in keys, metrics and documents."""

    verb: ClassVar[str]
    made_for: ClassVar[Role] = Role.ADMIN
    key: str
    fingerprint: bytes
    key_space: str = field(default="", kw_only=True)
    """Whose keys this is one of, empty for those of the kind that the verb is made for."""

    @property
    def source(self) -> str:
        """What the key is unique within."""
        return f"{self.verb}@{self.key_space}" if self.key_space else self.verb

    def sent_by(self, kind: Role) -> Self:
        """Return the command with its key among those of a kind of principal."""
        return self if kind is self.made_for else replace(self, key_space=kind.value)


def sources_of(verb: str) -> list[str]:
    """Return every source that keys of a verb can have."""
    return [verb, *(f"{verb}@{kind}" for kind in Role)]


class UnkeyedCommand:
    """A command that may be repeated, because it changes nothing or only what is due anyway."""

    __slots__ = ()
    verb: ClassVar[str]
    source: ClassVar[str] = ""
    key: ClassVar[str] = ""
    key_space: ClassVar[str] = ""
    fingerprint: ClassVar[bytes] = b""
