"""Which vocabulary a model counts with, and how many more tokens one has whose vocabulary is not public."""

from __future__ import annotations

import re

# The first matching prefix decides. tiktoken's own table raises KeyError for models newer than itself.
_ENCODINGS = (
    ("gpt-oss", "o200k_harmony"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-3", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
)
_VENDOR_PREFIXES = ("openai/", "openai.", "azure/", "ft:")
_DEFAULT_ENCODING = "o200k_base"

# Anthropic publishes no vocabulary. Its answers count 1.0 to 1.15 times as much as o200k_base does of the same text, up
# to Claude 4.6, and 1.4 times as much since.
EARLIER_CLAUDES = ("claude-2", "claude-3", "claude-instant")
_EARLIER_VERSION = re.compile(r"claude-(?:opus|sonnet|haiku)-4(?:[-.][0-6])?(?:-\d{8})?$")
_BEHIND = re.compile(r"-v\d+(?::\w+)*$|-(?:default|latest)$")
_EARLIER_FACTOR = 1.15
_FACTOR = 1.4


def encoding_for(model: str) -> tuple[str, bool]:
    """Return the name of a model's encoding, and whether it is known to be the right one."""
    name = model.lower()
    for prefix in _VENDOR_PREFIXES:
        name = name.removeprefix(prefix)
    for prefix, encoding_name in _ENCODINGS:
        if name.startswith(prefix):
            return encoding_name, True
    return _DEFAULT_ENCODING, False


def token_factor(model: str) -> float:
    """Return by what to multiply the tokens that a text has in the encoding of `encoding_for`."""
    return claude_factor(model) if "claude" in model.lower() else 1.0


def claude_factor(model: str) -> float:
    """Return the factor of a model of Anthropic, whatever it is called."""
    name = bare_model(model)
    is_earlier = name.startswith(EARLIER_CLAUDES) or _EARLIER_VERSION.match(name) is not None
    return _EARLIER_FACTOR if is_earlier else _FACTOR


def bare_model(model: str) -> str:
    """Return the name of a model without what clouds put around it.

    That is a vendor or a region before it, on Bedrock a version behind it; a date on Vertex AI stands as elsewhere.
    """
    name = model.lower().rpartition("/")[2].rpartition("anthropic.")[2]
    return _BEHIND.sub("", name.replace("@", "-"))
