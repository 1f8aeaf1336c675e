"""How long a recording is at most, as its size and its first bytes tell."""

from __future__ import annotations

import io
import wave
from math import ceil

from .files import beginning_of, size_of

LEAST_BYTES_OF_A_SECOND = 2_000
"""Of a compressed recording whose rate is not read: 16 kbit/s is the least at which speech is usually kept."""
LARGEST_FILE = 25 * 1_024 * 1_024
"""The most that OpenAI takes: the size of a file that does not tell its own."""
_HEADER = 4_096


def most_seconds(content: object) -> int:
    """Return how many seconds a recording has at most, rounded up; exact for WAV."""
    size = size_of(content)
    rate = _rate_of_wav(beginning_of(content, _HEADER)) or LEAST_BYTES_OF_A_SECOND
    return ceil((LARGEST_FILE if size is None else size) / rate)


def _rate_of_wav(begin: bytes) -> int | None:
    if begin[:4] != b"RIFF":
        return None
    try:
        with wave.open(io.BytesIO(begin)) as audio:
            return audio.getframerate() * audio.getnchannels() * audio.getsampwidth() or None
    except (wave.Error, EOFError):
        return None
