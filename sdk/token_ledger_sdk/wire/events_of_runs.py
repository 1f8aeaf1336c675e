"""Server-sent events of a run, from lines to news."""

from __future__ import annotations

import json

from ..errors import InvalidAnswer
from .fields import Fields
from .runs import RunNews


class EventLines:
    """Takes the lines of a stream one after the other; other events than news of the run are passed over."""

    def __init__(self) -> None:
        self._event = ""
        self._data: list[str] = []

    def add(self, line: str) -> RunNews | None:
        """Take a line in; returns news once they are whole. Raises InvalidAnswer for what is none."""
        if not line:
            event, data = self._event, self._data
            self._event, self._data = "", []
            return _news(data) if event == "run" else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        return None


def _news(data: list[str]) -> RunNews:
    try:
        value = json.loads("\n".join(data))
    except ValueError:
        raise InvalidAnswer("the stream of a run has an event that is not JSON") from None
    return Fields(value, "event").read(RunNews)
