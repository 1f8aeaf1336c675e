"""Owns the files that come within requests: they are written down, and called as they were sent."""

import re
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Sequence
from pathlib import Path

from token_ledger.wire.bodies.imports import FileBody
from token_ledger.wire.problems import invalid_field


def stored_files(directory: Path, files: Sequence[FileBody], *, binary: bool = False) -> list[Path]:
    """Write files down under names that end as their own do, and return where; `binary` ones come as base64."""
    return [_stored(directory, place, file, binary) for place, file in enumerate(files)]


def _stored(directory: Path, place: int, file: FileBody, binary: bool) -> Path:
    folder = directory / str(place)
    folder.mkdir()
    path = folder / re.sub(r"[^\w.-]", "_", f"file-{file.name[-100:]}", flags=re.ASCII)
    try:
        content = b64decode(file.content, validate=True) if binary else file.content.encode()
    except (NoBase64, ValueError):
        needed = "base64" if binary else "text without halves of surrogate pairs"
        raise invalid_field(f"files.{place}.content", f"this is no {needed}") from None
    path.write_bytes(content)
    return path


def as_sent(text: str, paths: Sequence[Path], files: Sequence[FileBody]) -> str:
    """Return a text with the files called as they were sent."""
    for path, file in zip(paths, files, strict=True):
        text = text.replace(str(path), file.name)
    return text
