"""Owns the kinds of bills that are read; it imports no reader, so that help can be shown at once."""

from enum import StrEnum


class BillKind(StrEnum):
    """Whose export a bill is."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    AWS = "aws"
    CSV = "csv"
