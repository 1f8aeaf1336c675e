"""How many tokens earlier responses stand for, when a request only names one that the provider has kept."""

from __future__ import annotations

from collections import OrderedDict

from ..providers import Reading

_MOST_KEPT = 10_000


class EarlierResponses:
    """The context that each response left: its input, which has that of those before it, and its output.

    Of a response that another process got, nothing is known.
    """

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, int] = OrderedDict()

    def note(self, reading: Reading | None) -> None:
        """Keep what a response used; of many, the last ones."""
        if reading is None or reading.response_id is None:
            return
        self._tokens[reading.response_id] = reading.usage.input_tokens + reading.usage.output_tokens
        if len(self._tokens) > _MOST_KEPT:
            self._tokens.popitem(last=False)

    def tokens_of(self, response_id: object) -> int:
        """Return what a response adds to the input of the next; 0 if it is not known."""
        return self._tokens.get(response_id, 0) if isinstance(response_id, str) else 0
