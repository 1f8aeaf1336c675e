"""Makes the commands of calls that are alike: what many calls say in the same words is read and checked once.

Of a call that says all but its key, instant, usage and response id as one before it did, only these are read. They must
be plain to see: whatever is not goes the way of every event, which knows better what is wrong with it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.secrets import has_secret
from token_ledger.core.model.usage import KINDS, LARGEST_USE, Usage
from token_ledger.wire.bodies.events import EventBody
from token_ledger.wire.commands.events import event_commands
from token_ledger.wire.problems import ProblemError

MOST_PATTERNS: Final = 10_000
"""How many patterns are remembered: a file has one for each session and model."""

_TEXTS: Final = frozenset({str})
_SHARED: Final = frozenset({str, bool, dict})
_ALL_KINDS: Final = list(KINDS)
_OTHER_KINDS: Final = tuple(f',"{kind}":' for kind in KINDS[2:])
_COUNTED: Final = {int}
_KINDS: Final = frozenset(KINDS)
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]{1,200}", re.ASCII)
"""A text that is written in JSON as it is, and that a key or an id may be."""
_IN_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?(Z|\+00:00)", re.ASCII)
_NO_PARTS: Final = frozenset({None, ".000", ".000000"})
_Shape = tuple[object, ...]
A_KEY: Final = "a-key"
AN_INSTANT: Final = "2001-02-03T04:05:06.789012Z"
A_RESPONSE: Final = "resp-a8af4d3b9e12"
A_USAGE: Final = dict(zip(KINDS, range(700_000_000_001, 700_000_000_001 + len(KINDS)), strict=True))


@dataclass(frozen=True, slots=True)
class _Pattern:
    """The command of one call, and the text of its fingerprint before, between and after what is a call's own."""

    record: Record
    texts: Sequence[str]

    def record_of(
        self, key: str, used: tuple[Usage, str], instant: tuple[datetime, str], response: str | None,
        said: Mapping[str, Any],
    ) -> Record:  # fmt: skip
        """Return the command of a call that is alike."""
        (usage, counts), (at, instant_text) = used, instant
        begin, after_usage, after_instant, end = self.texts
        text = f"{begin}{counts}{after_usage}{instant_text}{after_instant}{response or ''}{end}"
        one = self.record
        return Record(
            key, fingerprint(text.encode()), one.event_source, one.agent_type, one.provider, one.model, usage,
            one.run_id, one.user, one.cost_center, one.request_type, at, one.failed, one.estimated, response, one.tool,
            one.service_tier, one.tags, one.event_kind, one.cost_nanos, one.details, one.counts_since, said,
            one.may_grow,
        )  # fmt: skip


class AlikeCalls:
    """The patterns of the calls of an import; `counts_since` and `may_grow` are those of all its commands."""

    def __init__(self, counts_since: datetime, *, may_grow: bool = False) -> None:
        self.counts_since = counts_since
        self.may_grow = may_grow
        self._seen_once: set[_Shape] = set()
        self._patterns: dict[_Shape, _Pattern | None] = {}
        self._before: tuple[dict[str, Any], bool, _Pattern] | None = None
        """The pattern of the last call that has one, after what that said and whether it had no response id."""

    @property
    def remembered(self) -> int:
        """How many calls that are not alike are remembered."""
        return len(self._seen_once)

    def record_of(self, event: Mapping[str, Any]) -> Record | None:
        """Return the command of an event, as `event_commands` would make it; None for one that needs a closer look."""
        shared = {**event}
        key, response = shared.pop("idempotency_key", None), shared.pop("response_id", None)
        usage, instant = _usage_of(shared.pop("usage", None)), _instant_of(shared.pop("occurred_at", None))
        if usage is None or instant is None or not (_is_plain(key) and (response is None or _is_plain(response))):
            return None
        before = self._before
        # Values of these kinds are equal only to those of their own kind, and nearly all calls follow one alike.
        if (
            before is not None and before[0] == shared and before[1] is (response is None)
            and _SHARED.issuperset(map(type, shared.values()))
        ):  # fmt: skip
            return before[2].record_of(key, usage, instant, response, event)
        shape = _shape_of(shared, response is None)
        if shape is None:
            return None
        if shape in self._patterns:
            pattern = self._patterns[shape]
        elif shape in self._seen_once:
            pattern = self._patterns[shape] = self._pattern_of(event)
        else:
            self._see(shape)
            return None
        if pattern is None:
            return None
        self._before = shared, response is None, pattern
        return pattern.record_of(key, usage, instant, response, event)

    def _see(self, shape: _Shape) -> None:
        """Remember what a call says; a pattern is made when another one says it too, because that takes time."""
        if len(self._seen_once) >= MOST_PATTERNS:
            self._seen_once.clear()
            self._patterns.clear()
        self._seen_once.add(shape)

    def _pattern_of(self, event: Mapping[str, Any]) -> _Pattern | None:
        """Return the pattern of an event; None if what it shares with others can't be booked, or not so simply."""
        response = None if event.get("response_id") is None else A_RESPONSE
        sample = {**event, "idempotency_key": A_KEY, "usage": A_USAGE, "occurred_at": AN_INSTANT}
        sample["response_id"] = response
        try:
            (command, *others), _ = event_commands(sample, "event", self.counts_since, may_grow=self.may_grow)
        except ProblemError:
            return None
        if others or not isinstance(command, Record):
            return None
        body = EventBody.model_validate(sample)
        text = body.model_dump_json(exclude_defaults=True, exclude={"idempotency_key"})
        texts = _split(text, _usage_text(tuple(A_USAGE.values())), AN_INSTANT, response)
        usage, instant = _usage_of(A_USAGE), _instant_of(AN_INSTANT)
        if texts is None or usage is None or instant is None:
            return None
        pattern = _Pattern(command, texts)
        return pattern if pattern.record_of(A_KEY, usage, instant, response, sample) == command else None


def _shape_of(shared: dict[str, Any], without_response: bool) -> _Shape | None:
    """Return what calls that are alike have in common; None unless it is texts, yes or no, and texts by their names."""
    shape = [without_response, *shared]
    for said in shared.values():
        kind = type(said)
        if kind is dict:
            if not _TEXTS.issuperset(map(type, said.values())):
                return None
            said = (*said.items(),)
        elif kind is not str and kind is not bool:
            return None
        shape.append(said)
    return (*shape,)


def _usage_of(counts: object) -> tuple[Usage, str] | None:
    """Return a usage, and its text in a fingerprint; None unless it is counts of tokens."""
    if type(counts) is not dict or not _KINDS.issuperset(counts):
        return None
    found = (*counts.values(),) if [*counts] == _ALL_KINDS else tuple([counts.get(kind, 0) for kind in KINDS])
    if {*map(type, found)} != _COUNTED or min(found) < 0 or max(found) > LARGEST_USE:
        return None
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    return Usage(*found), _usage_text(found)


def _usage_text(counts: tuple[int, ...]) -> str:
    text = f'{{"input_tokens":{counts[0]},"output_tokens":{counts[1]}'
    for name, count in zip(_OTHER_KINDS, counts[2:], strict=True):
        if count:
            text += f"{name}{count}"
    return text + "}"


def _instant_of(text: object) -> tuple[datetime, str] | None:
    """Return an instant that is written in UTC, and its text in a fingerprint; None for any other."""
    found = _IN_UTC.fullmatch(text) if type(text) is str else None
    if found is None or type(text) is not str:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    parts = found[1]  # in half the time of writing the instant anew
    return at, f"{text[:19]}Z" if parts in _NO_PARTS else f"{text[:19]}{parts:0<7}Z"


def _is_plain(text: Any) -> bool:
    return type(text) is str and _PLAIN.fullmatch(text) is not None and not has_secret(text)


def _split(text: str, *parts: str | None) -> tuple[str, ...] | None:
    """Return what is before, between and after parts of a text; None unless each is there once, in this order."""
    texts = []
    for part in parts:
        if part is None:
            texts.append(text)
            text = ""
            continue
        before, found, text = text.partition(part)
        if not found or part in text:
            return None
        texts.append(before)
    return (*texts, text)
