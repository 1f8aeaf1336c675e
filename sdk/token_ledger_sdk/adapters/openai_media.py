"""Reads requests of the openai library for images and audio into what a guard asks.

Some models charge tokens for these, others pieces: images, characters, seconds of audio. What a call may cost is known
before it only roughly, except for characters; what is booked is what the answer says, where it says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from ..guard.ask import Ask
from ..providers import Usage
from ..providers.bodies import members
from ..providers.usage import OTHER_KINDS
from .audio_length import most_seconds
from .files import parts_named

IMAGES = "/images/generations"
EDITS = "/images/edits"
VARIATIONS = "/images/variations"
SPEECH = "/audio/speech"
TRANSCRIPTIONS = "/audio/transcriptions"
TRANSLATIONS = "/audio/translations"
MEDIA = frozenset({IMAGES, EDITS, VARIATIONS, SPEECH, TRANSCRIPTIONS, TRANSLATIONS})

_IMAGES_BY_TOKENS = re.compile(r"gpt-image|chatgpt-image|image-latest")
_AUDIO_BY_TOKENS = re.compile(r"gpt-4o|gpt-audio|gemini")

_PIXELS = 1_024 * 1_024
_TOKENS_OF_A_QUALITY = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_320, "max": 16_640}
"""What OpenAI publishes for an image of 1,024 by 1,024 pixels of gpt-image-1; for the last two it publishes nothing,
and each is taken for twice the one before it."""
_ROUNDED_UP = 1.01
"""Images of other shapes have up to so much more for each pixel."""
_LARGEST = 1_536 * 1_024
_TOKENS_OF_A_PARTIAL_IMAGE = 100
_TOKENS_OF_AN_INPUT_IMAGE = 6_500
"""The most that an image which is edited is, at high fidelity."""
_FRAMES = 9

_INPUT_TOKENS_OF_A_SECOND = 10
_SPOKEN_TOKENS_OF_A_SECOND = 20
_WRITTEN_TOKENS_OF_A_SECOND = 10
"""Of a transcript; people speak three to five."""
_SECONDS_OF_AN_ASCII_CHARACTER = 1 / 8
_SECONDS_OF_A_CHARACTER = 1 / 3
"""How long it takes to say, slowly: usually half of it."""

Count = Callable[[str], int]


def media_ask_of(path: str, body: Mapping[str, Any], files: object, provider: str, count: Count) -> Ask:
    """Return what a guard asks for a call of images or audio; `count` counts a text."""
    if path == SPEECH:
        return _speech(body, provider, count)
    if path in (TRANSCRIPTIONS, TRANSLATIONS):
        return _transcription(path, body, files, provider, count)
    return _images(path, body, files, provider, count)


def _ask(body: Mapping[str, Any], provider: str, request_type: str, most: Usage, **more: Any) -> Ask:
    others = {kind: getattr(most, kind) for kind in OTHER_KINDS if getattr(most, kind)}
    return Ask(
        provider=provider,
        model=str(body["model"]),
        input_tokens=most.input_tokens,
        output_limit=most.output_tokens,
        takes_limit=False,
        takes_model=False,
        is_counted=False,
        request_type=request_type,
        max_usage=others,
        **{"is_text": False, **more},
    )


def _images(path: str, body: Mapping[str, Any], files: object, provider: str, count: Count) -> Ask:
    images = _number(body, "n", 1)
    if not _IMAGES_BY_TOKENS.search(str(body["model"])):
        return _ask(body, provider, "image", Usage(0, 0, images=images))
    given = len(parts_named(files, "image", "mask")) + len(members(body.get("images")))
    shown = given * _TOKENS_OF_AN_INPUT_IMAGE
    each = _image_tokens(body) + _TOKENS_OF_A_PARTIAL_IMAGE * _number(body, "partial_images", 0)
    made = images * each * (_number(body, "frame_count", _FRAMES) if body.get("output_format") == "gif" else 1)
    said = count(str(body.get("prompt") or ""))
    most = Usage(said + shown, made, image_input_tokens=shown, image_output_tokens=made)
    return _ask(body, provider, "image", most)


def _image_tokens(body: Mapping[str, Any]) -> int:
    size = re.fullmatch(r"(\d{2,5})x(\d{2,5})", str(body.get("size")))
    pixels = int(size[1]) * int(size[2]) if size else _LARGEST
    # `auto`, which is what counts without one, is as good as the model can: the best that is published.
    tokens = _TOKENS_OF_A_QUALITY.get(str(body.get("quality")), _TOKENS_OF_A_QUALITY["high"])
    return ceil(tokens * pixels / _PIXELS * _ROUNDED_UP)


def _speech(body: Mapping[str, Any], provider: str, count: Count) -> Ask:
    words = str(body.get("input") or "")
    if not _AUDIO_BY_TOKENS.search(str(body["model"])):
        charged = Usage(0, 0, characters=len(words))
        return _ask(body, provider, "speech", charged, charged=charged)
    spoken = ceil(_seconds_of_speech(words) / _speed(body) * _SPOKEN_TOKENS_OF_A_SECOND)
    asked = count(words) + count(str(body.get("instructions") or ""))
    return _ask(body, provider, "speech", Usage(asked, spoken, audio_output_tokens=spoken))


def _seconds_of_speech(words: str) -> float:
    ascii_count = len(words.encode("ascii", "ignore"))
    return ascii_count * _SECONDS_OF_AN_ASCII_CHARACTER + (len(words) - ascii_count) * _SECONDS_OF_A_CHARACTER


def _speed(body: Mapping[str, Any]) -> float:
    speed = body.get("speed")
    return float(speed) if isinstance(speed, int | float) and speed > 0 else 1.0


def _transcription(path: str, body: Mapping[str, Any], files: object, provider: str, count: Count) -> Ask:
    kind = "transcription" if path == TRANSCRIPTIONS else "translation"
    seconds = sum(most_seconds(content) for content in parts_named(files, "file"))
    if not _AUDIO_BY_TOKENS.search(str(body["model"])):
        return _ask(body, provider, kind, Usage(0, 0, audio_seconds=seconds))
    heard, written = seconds * _INPUT_TOKENS_OF_A_SECOND, seconds * _WRITTEN_TOKENS_OF_A_SECOND
    prompt = count(str(body.get("prompt") or ""))
    return _ask(body, provider, kind, Usage(heard + prompt, written, audio_input_tokens=heard), is_text=True)


def _number(body: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = body.get(name)
    return value if type(value) is int and value > 0 else otherwise
