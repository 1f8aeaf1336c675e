"""How many tokens an image in a prompt is, by its size; OpenAI's rules, with the most for what can't be seen here."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct

_TILE = 512
_SHORT_SIDE = 768
_LONG_SIDE = 2048
_PATCH = 32
_MOST_PATCHES = 1_536

# Model -> tokens of any image, and of each tile of 512 pixels; the first matching prefix decides.
_TILED = (
    ("gpt-4o-mini", 2_833, 5_667), ("gpt-5", 70, 140), ("gpt-4o", 85, 170), ("gpt-4.1", 85, 170), ("gpt-4.5", 85, 170),
    ("gpt-4", 85, 170), ("o1", 75, 150), ("o3", 75, 150),
)  # fmt: skip
_PATCHED = (
    ("gpt-5-mini", 1.62), ("gpt-5-nano", 2.46), ("gpt-4.1-mini", 1.62), ("gpt-4.1-nano", 2.46), ("o4-mini", 1.72),
)  # fmt: skip
_DATA = re.compile(r"data:image/[\w.+-]+;base64,")
_HEADER_BYTES = 64 * 1024


def image_tokens(address: str, detail: str, model: str) -> tuple[int, bool]:
    """Return the tokens of an image, and whether its size is known, so that they are exact.

    `address` is a data: URL or base64, whose size is read, or a URL, which is taken for the largest image.
    """
    name = model.lower().rpartition("/")[2]
    size = _size_of(address)
    width, height = size or (_LONG_SIDE, _LONG_SIDE)
    for prefix, factor in _PATCHED:
        if name.startswith(prefix):
            return math.ceil(_patches(width, height) * factor), size is not None
    base, tile = next(((base, tile) for prefix, base, tile in _TILED if name.startswith(prefix)), (85, 170))
    if detail == "low":
        return base, True
    return base + tile * _tiles(width, height), size is not None


def _tiles(width: int, height: int) -> int:
    """Return the tiles of an image once it is scaled to fit a square of 2,048, and its short side to 768 pixels."""
    scale = min(1.0, _LONG_SIDE / max(width, height))
    scale *= min(1.0, _SHORT_SIDE / (min(width, height) * scale))
    return math.ceil(width * scale / _TILE) * math.ceil(height * scale / _TILE)


def _patches(width: int, height: int) -> int:
    return min(_MOST_PATCHES, math.ceil(width / _PATCH) * math.ceil(height / _PATCH))


def _size_of(address: str) -> tuple[int, int] | None:
    """Read width and height from the start of a PNG, GIF, WebP or JPEG."""
    start = _DATA.match(address)
    if address.startswith(("http:", "https:")) or (address.startswith("data:") and start is None):
        return None
    encoded = address[start.end() if start else 0 :][: _HEADER_BYTES // 3 * 4]
    try:
        content = base64.b64decode(encoded[: len(encoded) // 4 * 4])
        size = _size_in(content)
    except (binascii.Error, ValueError, struct.error, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _size_in(content: bytes) -> tuple[int, int] | None:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack(">II", content[16:24])
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return struct.unpack("<HH", content[6:10])
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp_size(content)
    return _jpeg_size(content) if content.startswith(b"\xff\xd8") else None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 2 + struct.unpack(">H", content[place + 2 : place + 4])[0]
    return None
