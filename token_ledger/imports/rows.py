"""Owns what every reader of an export yields: calls to book and rows that are none, each with its place in the file.

A reader is a generator over files that never loads a whole one, and yields every row of them exactly once, as one of
the two kinds below. So what was read is what was booked, repeated, kept in quarantine or skipped by a named reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo


class SkipReason(StrEnum):
    """Why a row of a file is no call of its own."""

    NO_CALL = "no call"
    """It says something else: a message, a setting, a total of other rows."""
    SAME_CALL = "same call"
    """An earlier row was the same call: a stream in several lines, a session copied into a new file."""
    PARENT = "sums its children"
    """It repeats the usage of rows below it."""
    SYNTHETIC = "made up by the client"
    """No provider was called, as with the model `<synthetic>` of Claude Code."""
    NO_USAGE = "no usage"
    """A call that failed before it used anything, or of which nothing was counted."""
    UNFINISHED_LINE = "unfinished last line"
    """The program that writes the file was in the middle of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a file and its line, counted from 1; line 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call, as an event that `POST /v1/usage` takes; its key is the same whenever the file is read again."""

    place: Place
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is not booked, and why; or all such rows of a file with one reason, at the place of the first."""

    place: Place
    reason: SkipReason
    rows: int = 1


Row = CallRow | SkippedRow


class UnreadableFile(ValueError):
    """A file is not what its kind says; nothing of the import may be booked. The text says what would be right."""

    def __init__(self, place: Place, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is taken where a file does not say it; None where the file must say it itself.

    `time_zone` is that of instants without one.
    """

    user: str | None = None
    cost_center: str | None = None
    agent_type: str | None = None
    provider: str | None = None
    time_zone: ZoneInfo | None = None
