"""Reads providers' responses and streams: what their calls used, as `Usage`, and what else decides about the price.

Nothing here needs more than the standard library, so that others than this package's clients can use it.
"""

from ..errors import UsageMissing
from .anthropic import AnthropicStreamUsage, usage_from_anthropic
from .any_stream import AnyStreamUsage, stream_usage_for
from .bedrock import BedrockStreamUsage
from .cohere import CohereStreamUsage
from .gemini import GeminiStreamUsage
from .openai import OpenAIStreamUsage, usage_from_openai
from .reading import STANDARD, Reading
from .recorded import chunks_of, reading_of_recorded
from .responses import reading_of, response_id_of, usage_from
from .served import served_model
from .streams import StreamUsage
from .usage import Usage

__all__ = [
    "STANDARD",
    "AnthropicStreamUsage",
    "AnyStreamUsage",
    "BedrockStreamUsage",
    "CohereStreamUsage",
    "GeminiStreamUsage",
    "OpenAIStreamUsage",
    "Reading",
    "StreamUsage",
    "Usage",
    "UsageMissing",
    "chunks_of",
    "reading_of",
    "reading_of_recorded",
    "response_id_of",
    "served_model",
    "stream_usage_for",
    "usage_from",
    "usage_from_anthropic",
    "usage_from_openai",
]
