"""Reads providers' responses and streams: their token counts as `Usage`.

Nothing here needs more than the standard library, so that others than this package's clients can use it.
"""

from .anthropic import AnthropicStreamUsage, usage_from_anthropic
from .openai import OpenAIStreamUsage, usage_from_openai
from .responses import response_id_of, usage_from
from .streams import StreamUsage
from .usage import Usage

__all__ = [
    "AnthropicStreamUsage",
    "OpenAIStreamUsage",
    "StreamUsage",
    "Usage",
    "response_id_of",
    "usage_from",
    "usage_from_anthropic",
    "usage_from_openai",
]
