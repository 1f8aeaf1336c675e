"""By how much more, or less, than they are counted here a model's provider charges input tokens, as settles have shown.

Vocabularies of other providers than OpenAI are not public: their texts are counted with another one, which is wrong by
a factor that is about the same for all texts of a kind. What is learned stays in this process.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

LEAST_RATIO, MOST_RATIO = 0.5, 2.0
"""A count is corrected by no more than this."""
_LEAST_SEEN, _MOST_SEEN = 0.25, 4.0
"""What is charged beyond this is something that was not counted at all, such as a document behind an address."""
PRIOR_TOKENS = 100
"""So many tokens that are counted right are taken for seen, so that a first short call tells little."""
_HORIZON_TOKENS = 40_000
"""About so many tokens of the last calls decide, so that a model is followed that changes."""
_MOST_TOKENS = 10_000
"""A longer call counts as one of this length, so that none decides alone."""
_MOST_MODELS = 1_000


@dataclass(slots=True)
class _Seen:
    counted: float = 0.0
    charged: float = 0.0


class Calibration:
    """The ratios of models, the 1,000 used last; threads share it.

    What a provider charges that counts from 0.5 to 2 times as much, evenly within 5 percent, is met within 15 percent
    after calls of 4,000 counted tokens in all.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def ratio(self, model: str) -> float:
        """Return by what to multiply the count of a model's input: 1 until something is known, from 0.5 to 2."""
        with self._lock:
            seen = self._seen.get(model)
            if seen is None:
                return 1.0
            self._seen.move_to_end(model)
            ratio = (seen.charged + PRIOR_TOKENS) / (seen.counted + PRIOR_TOKENS)
        return min(MOST_RATIO, max(LEAST_RATIO, ratio))

    def forget(self) -> None:
        """Forget everything, as in a test."""
        with self._lock:
            self._seen.clear()

    def learn(self, model: str, *, counted: int, charged: int) -> None:
        """Note what was charged for input that was counted as so many tokens, without a correction."""
        if counted <= 0 or not _LEAST_SEEN <= charged / counted <= _MOST_SEEN:
            return
        weight = min(1.0, _MOST_TOKENS / counted)
        kept = 1 - counted * weight / _HORIZON_TOKENS
        with self._lock:
            seen = self._seen.setdefault(model, _Seen())
            seen.counted = seen.counted * kept + counted * weight
            seen.charged = seen.charged * kept + charged * weight
            self._seen.move_to_end(model)
            while len(self._seen) > _MOST_MODELS:
                self._seen.popitem(last=False)


learned = Calibration()
"""What this process has learned."""
