"""Owns what is known of an event beside its usage: what kind of event it is, what was measured, what a cache saved."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from operator import attrgetter
from typing import Any

from token_ledger.core.model.frozen import value
from token_ledger.core.model.usage import Usage, usage_from


class Kind(StrEnum):
    """What an event is about, if not a call of a model. None of these counts as a call."""

    TOOL_CALL = "tool_call"
    """A tool was called; it costs what the caller says, or what the model costs that the tool used."""
    CACHE_HIT = "cache_hit"
    """An answer came from a cache of the caller's: nothing was used, and what was saved is kept."""
    OTHER_MODEL = "other_model"
    """Another model that a provider called within a call, which is an event of its own."""


@value
class Saved:
    """What a cache hit saved: the usage of the call that was not made, and its price at the instant of the hit."""

    usage: Usage
    nanos: int


@value
class Details:
    """What a caller measured and said of a call; milliseconds count from its start.

    `stages` are sorted by name. `from_cache` says that a tool answered from a cache of its own. `supersedes` is the
    event of an earlier reading of the same call, which an import had met unfinished: that is taken back.
    """

    latency_ms: int | None = None
    first_token_ms: int | None = None
    stages: tuple[tuple[str, int], ...] = ()
    retries: int | None = None
    error_kind: str | None = None
    finish_reason: str | None = None
    estimate_rule: str | None = None
    tool_source: str | None = None
    from_cache: bool = False
    saved: Saved | None = None
    supersedes: int | None = None

    def saving(self, usage: Usage, nanos: int) -> "Details":
        """Return these details with what a cache hit saved."""
        return replace(self, saved=Saved(usage, nanos))


NO_DETAILS = Details()


def opposite(details: Details | None) -> Details | None:
    """Return what a correction says of the details of what it takes back: only that nothing was saved."""
    if details is None or details.saved is None:
        return None
    usage = details.saved.usage
    taken = Usage(*(-count for count in usage.counts), others=tuple((name, -count) for name, count in usage.others))
    return NO_DETAILS.saving(taken, -details.saved.nanos)


_SIMPLE = (
    "latency_ms", "first_token_ms", "retries", "error_kind", "finish_reason", "estimate_rule", "tool_source",
    "from_cache", "supersedes",
)  # fmt: skip
_simple = attrgetter(*_SIMPLE)


def details_data(details: Details) -> dict[str, Any]:
    """Return details as plain data: what was said, and nothing of what was not."""
    said = zip(_SIMPLE, _simple(details), strict=True)
    data: dict[str, Any] = {name: each for name, each in said if each is not None and each is not False}
    if details.stages:
        data["stages"] = dict(details.stages)
    if details.saved is not None:
        used = {kind: count for kind, count in details.saved.usage.by_kind.items() if count}
        data["saved"] = {"usage": used, "nanos": details.saved.nanos}
    return data


def details_from(data: Mapping[str, Any]) -> Details:
    """Read details back from plain data."""
    simple = {name: data[name] for name in _SIMPLE if name in data}
    saved = data.get("saved")
    return Details(
        **simple,
        stages=tuple(sorted(data.get("stages", {}).items())),
        saved=None if saved is None else Saved(usage_from(saved["usage"]), saved["nanos"]),
    )
