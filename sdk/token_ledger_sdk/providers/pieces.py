"""Reads bodies that say what is charged by the piece and no tokens: images, pages, seconds of audio."""

from __future__ import annotations

from .bodies import count, has_count, member, members, text, whole_seconds
from .reading import Reading, valid_id
from .usage import Usage

FORMAT = "pieces"


def read_pieces(response: object) -> Reading | None:
    """Read a body of OpenAI's or Google's images, of Mistral's OCR, or of a Whisper transcription."""
    usage = _images(response) or _pages(response) or _seconds(response)
    if usage is None:
        return None
    return Reading(usage, text(response, "model"), response_id=valid_id(member(response, "id")), provider_format=FORMAT)


def _images(response: object) -> Usage | None:
    for images in (member(response, "data"), member(response, "predictions")):
        found = members(images)
        if found and all(_is_image(each) for each in found):
            return Usage(0, 0, images=len(found))
    return None


def _is_image(item: object) -> bool:
    # OpenAI sends one of the first two, Imagen the third.
    return any(isinstance(member(item, name), str) for name in ("b64_json", "url", "bytesBase64Encoded"))


def _pages(response: object) -> Usage | None:
    usage = member(response, "usage_info")
    return Usage(0, 0, pages=count(usage, "pages_processed")) if has_count(usage, "pages_processed") else None


def _seconds(response: object) -> Usage | None:
    if text(response, "task") not in ("transcribe", "translate") or member(response, "duration") is None:
        return None
    return Usage(0, 0, audio_seconds=whole_seconds(member(response, "duration")))
