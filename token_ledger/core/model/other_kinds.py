"""Owns the kinds of use that few calls have: tokens with a rate of their own inside other tokens, and counted units.

A new one is a line here, with its field on the wire in `wire.token_kinds`, in `providers/usage.py` of the SDK and, if
the price data publishes it, its name there in `storage.published_prices`. An event stores those it has in one column,
so that other events stay as they are.
"""

from collections.abc import Mapping

from token_ledger.core.model.frozen import value

PER_MILLION = 1_000_000
PER_THOUSAND = 1_000
PER_HOUR = 3_600
REQUESTS = "requests"
"""The kind of which every call is one, beside those that it reports."""


@value
class OtherKind:
    """One kind: its name, how many of it a rate is for, and the kind of tokens that it is a part of, if it is.

    `cached_in` is the kind that says how much of this one was read from a cache: that part has a rate of its own.
    """

    name: str
    per: int
    part_of: str | None = None
    cached_in: str | None = None


OTHER_KINDS: Mapping[str, OtherKind] = {
    kind.name: kind
    for kind in (
        OtherKind("audio_cache_read_tokens", PER_MILLION, "cache_read_tokens"),
        OtherKind("image_cache_read_tokens", PER_MILLION, "cache_read_tokens"),
        OtherKind("audio_input_tokens", PER_MILLION, "input_tokens", "audio_cache_read_tokens"),
        OtherKind("image_input_tokens", PER_MILLION, "input_tokens", "image_cache_read_tokens"),
        OtherKind("video_input_tokens", PER_MILLION, "input_tokens"),
        OtherKind("audio_output_tokens", PER_MILLION, "output_tokens"),
        OtherKind("image_output_tokens", PER_MILLION, "output_tokens"),
        OtherKind("video_output_tokens", PER_MILLION, "output_tokens"),
        OtherKind("citation_tokens", PER_MILLION, "output_tokens"),
        OtherKind("web_searches", PER_THOUSAND),
        OtherKind("file_searches", PER_THOUSAND),
        OtherKind("images", PER_THOUSAND),
        OtherKind("pages", PER_THOUSAND),
        OtherKind("annotated_pages", PER_THOUSAND),
        OtherKind("characters", PER_MILLION),
        OtherKind("messages", PER_THOUSAND),
        OtherKind("audio_seconds", PER_HOUR),
        OtherKind(REQUESTS, PER_THOUSAND),
    )
}
"""In the order in which events and reports list them. Of tokens, the parts of the cache come first."""

Others = tuple[tuple[str, int], ...]
"""Names of other kinds with their counts above 0, in the order of `OTHER_KINDS`."""


def others_of(counts: Mapping[str, int]) -> Others:
    """Return the other kinds that are among counts by name, those above 0."""
    return tuple((name, counts[name]) for name in OTHER_KINDS if counts.get(name))


def rate_name(kind: str) -> str:
    """Return what the rate of a kind is called: like the kind, without the tokens."""
    return kind.removesuffix("_tokens")


RATE_KINDS: Mapping[str, OtherKind] = {rate_name(name): kind for name, kind in OTHER_KINDS.items()}
"""Kinds by the names of their rates."""


def rated_separately(others: Others) -> Mapping[str, int]:
    """Return for each kind of these how much its own rate applies to: what was read from a cache has another one."""
    counts = dict(others)
    for name, count in others:
        cached = OTHER_KINDS[name].cached_in
        if cached in counts:
            counts[name] = count - counts[cached]
    return counts


def fit(others: Others, room: Mapping[str, int]) -> Others:
    """Return others whose tokens fit into their wholes; `room` is what the ordinary parts left of each whole.

    A provider may say how much of a prompt was audio and how much was read from the cache, and not how much was both:
    what has no room outside the cache was read from it.
    """
    counts, left = dict(others), dict(room)
    for name, kind in OTHER_KINDS.items():
        if kind.part_of is None or name in _CACHED:
            continue
        said = counts.get(kind.cached_in, 0) if kind.cached_in else 0
        whole = max(counts.get(name, 0), said)
        cached = min(said, left["cache_read_tokens"])
        if kind.cached_in:
            beyond = whole - cached - left[kind.part_of]
            cached += max(0, min(beyond, left["cache_read_tokens"] - cached))
            counts[kind.cached_in] = cached
        fresh = min(whole - cached, left[kind.part_of])
        left["cache_read_tokens"] -= cached
        left[kind.part_of] -= fresh
        counts[name] = cached + fresh
    return others_of(counts)


_CACHED = {kind.cached_in for kind in OTHER_KINDS.values()}
