"""Reads the usage and the id of any response, whichever supported provider sent it."""

from __future__ import annotations

from .anthropic import is_anthropic, usage_from_anthropic
from .bodies import member
from .openai import usage_from_openai
from .streams import StreamUsage
from .usage import Usage

_LONGEST_ID = 200


def usage_from(response: object) -> Usage:
    """Read the usage of a response of OpenAI or Anthropic, or of a provider that copies their format.

    Accepts a `Usage` (returned unchanged), a `StreamUsage`, a response, or only its usage part; as an SDK object or a
    dict. Raises UsageMissing if it has no token counts.
    """
    if isinstance(response, Usage):
        return response
    if isinstance(response, StreamUsage):
        return response.usage()
    return usage_from_anthropic(response) if is_anthropic(response) else usage_from_openai(response)


def response_id_of(response: object) -> str | None:
    """Return the provider's id of a response, by which a call that is reported twice is recognized.

    None unless it is 1 to 200 printable characters: the service would refuse the whole settle for any other id, and
    the usage matters more.
    """
    identifier = response.response_id if isinstance(response, StreamUsage) else member(response, "id")
    if isinstance(identifier, str) and 0 < len(identifier) <= _LONGEST_ID and identifier.isprintable():
        return identifier
    return None
