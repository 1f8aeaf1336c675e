"""How many tokens a content has that Gemini keeps in its cache, when a request only names it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..providers import Reading
from ..providers.bodies import count, either, member, members, text

_PATH = "cachedContents"
_MOST_KEPT = 10_000


class KnownCaches:
    """What the service of Google has said of cached contents: when they were made or looked up, and in answers."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, int] = OrderedDict()

    def is_about(self, url: str) -> bool:
        """Whether the answer to a request describes cached contents."""
        return _PATH in url

    def note(self, answer: object) -> None:
        """Keep what an answer says of one cached content, or of many."""
        for each in (answer, *members(member(answer, _PATH))):
            tokens = count(either(each, "usageMetadata", "usage_metadata"), "totalTokenCount", "total_token_count")
            self._keep(text(each, "name"), tokens)

    def note_use(self, body: Mapping[str, Any], reading: Reading | None) -> None:
        """Keep what a call was charged that has read a cached content."""
        name = text(body, "cachedContent")
        if reading is not None and self.tokens_of(name) is None:
            self._keep(name, reading.usage.cache_read_tokens)

    def tokens_of(self, name: str | None) -> int | None:
        """Return what a cached content adds to the input; None if it is not known."""
        return None if name is None else self._tokens.get(_key(name))

    def _keep(self, name: str | None, tokens: int) -> None:
        if name is None or not tokens:
            return
        self._tokens[_key(name)] = tokens
        if len(self._tokens) > _MOST_KEPT:
            self._tokens.popitem(last=False)


def _key(name: str) -> str:
    # Vertex AI puts a project before it.
    return name.rpartition("/")[2]
