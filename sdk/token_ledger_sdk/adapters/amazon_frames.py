"""Reads the frames in which Amazon Bedrock sends the events of a stream.

A frame is its length, the length of its headers, a checksum, the headers, the payload and another checksum; lengths are
four bytes, the highest first. The payload is JSON: in `bytes` an event of the model, or else the message of an error.
Source: the Amazon Event Stream Encoding of AWS' SDKs.
"""

from __future__ import annotations

import json
from base64 import b64decode

from ..providers.bodies import text

FRAMES = "application/vnd.amazon.eventstream"
_BEFORE_HEADERS = 12
_CHECKSUM = 4


def split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the payloads of the frames that are whole, and the bytes after them."""
    payloads, start = [], 0
    while len(data) - start >= _BEFORE_HEADERS:
        length, headers = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (0, 4))
        end = start + length
        if end > len(data) or length < _BEFORE_HEADERS + headers + _CHECKSUM:
            break
        payloads.append(data[start + _BEFORE_HEADERS + headers : end - _CHECKSUM])
        start = end
    return payloads, data[start:]


def event_of(payload: bytes) -> bytes:
    """Return the event of a frame, as JSON; that of an error has the type `error`."""
    try:
        body = json.loads(payload)
        encoded = text(body, "bytes")
        if encoded is None:
            return json.dumps({"type": "error", "error": body}).encode()
        return b" ".join(b64decode(encoded).splitlines())
    except ValueError:  # binascii.Error is one
        return b"{}"
