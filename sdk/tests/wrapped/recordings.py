"""Recordings, of silence."""

from __future__ import annotations

import io
import wave


def recording(seconds: int) -> bytes:
    """Return a recording as a WAV file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(8_000)
        audio.writeframes(bytes(seconds * 16_000 - 44))
    return made.getvalue()
