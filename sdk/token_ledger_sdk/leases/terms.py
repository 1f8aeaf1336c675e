"""What a caller asks of leases: how large, for how long, and how often their calls are booked."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import inf

from ..wire.calls import DEFAULT_TTL_SECONDS, Call
from .sizes import Size

SKEW_SECONDS = 1.0
"""How much earlier than the service a client considers a lease expired: clocks run at slightly different rates."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Leases for up to `calls` calls each, none longer than `longest_call_seconds`, booked every `flush_seconds`.

    A lease admits calls for `fresh_seconds`, longer only while the service is away: what it says of the model, and of
    other directives, is as old. After one was refused, none is asked for within `single_seconds`. Those that `follow`
    are each of the size of the call that needs another. Raises ValueError if a lease of `call` could never admit one.
    """

    call: Call
    _: KW_ONLY
    calls: int
    longest_call_seconds: float
    flush_seconds: float
    fresh_seconds: float = inf
    single_seconds: float = 5.0
    follow: bool = False

    def __post_init__(self) -> None:
        if self.longest_call_seconds + SKEW_SECONDS >= self.ttl_seconds:
            raise ValueError(
                f"longest_call_seconds={self.longest_call_seconds} does not fit into a lease of"
                f" ttl_seconds={self.ttl_seconds}: give a larger ttl_seconds"
            )
        if self.flush_seconds <= 0:
            raise ValueError(f"flush_seconds is {self.flush_seconds}: give more than 0")

    @property
    def ttl_seconds(self) -> int:
        """How long a lease lives unless it is extended."""
        return self.call.get("ttl_seconds", DEFAULT_TTL_SECONDS)

    @property
    def size(self) -> Size:
        """The size of a call, unless the caller gives another for one call."""
        return size_of(self.call)

    @property
    def cache_write(self) -> str | None:
        """For how long calls may keep their input in the provider's cache: 5m, 1h, or None."""
        return self.call.get("cache_write")

    def single(self, size: Size) -> Call:
        """Return one call of a size, to be reserved by itself."""
        call = self.call.copy()
        call["input_tokens"], call["max_output_tokens"] = size.input_tokens, size.max_output_tokens
        call["cached_input_tokens"], call["max_usage"] = size.cached_input_tokens, size.max_usage
        if size.service_tier is not None:
            call["service_tier"] = size.service_tier
        call.pop("idempotency_key", None)
        return call


def size_of(call: Call) -> Size:
    """Return the size of a call."""
    return Size(
        call["input_tokens"],
        call["max_output_tokens"],
        call.get("cached_input_tokens", 0),
        call.get("max_usage") or {},
        call.get("service_tier"),
    )
