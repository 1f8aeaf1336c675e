"""Owns the keys of rows that have no id of their own: they follow from what a row says, whatever file it stands in.

Two equal rows of one file are two calls, so the second has another key. Read again, the file gives the same keys.
"""

from hashlib import blake2b
from mmap import mmap
from typing import Final

_BITS: Final = 2**29
_MASK: Final = _BITS - 1
_LONGEST_ID: Final = 200


class RowKeys:
    """The keys of the rows of one file, in their order.

    Which rows came before is remembered in a filter of 64 MB, and exactly only for rows that seem to repeat, so that
    memory does not grow with the file. A row that the filter takes for another one (one of about 40,000, once there
    were ten million) gets the key of a repetition: no other row has it, and the file gives it each time.
    """

    def __init__(self) -> None:
        self._seen = mmap(-1, _BITS // 8)  # the system gives the memory when it is written to
        self._repeated: dict[bytes, int] = {}

    def key(self, content: bytes) -> str:
        """Return the key of the next row, by what it says."""
        digest = blake2b(content, digest_size=16).digest()
        seen, number, is_new = self._seen, int.from_bytes(digest), False
        for _ in range(4):
            bit = number & _MASK
            byte, mask = bit >> 3, 1 << (bit & 7)
            if not seen[byte] & mask:
                is_new = True
                seen[byte] |= mask
            number >>= 32
        if is_new:
            return digest.hex()
        count = self._repeated.get(digest, 1) + 1
        self._repeated[digest] = count
        return f"{digest.hex()}:{count}"


def key_of_id(identifier: str) -> str:
    """Return the key of a row with an id of its own: the id, or its hash where no key may look like it."""
    if 0 < len(identifier) <= _LONGEST_ID and identifier.isprintable():
        return identifier
    return blake2b(identifier.encode(errors="backslashreplace"), digest_size=16).hexdigest()
