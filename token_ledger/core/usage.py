"""Owns what one call used: token counts by kind, and the rule for contradictory counts (design D13)."""

from token_ledger.core.values import value


@value
class Usage:
    """Tokens of one call. `input_tokens` holds all prompt tokens, `output_tokens` the reasoning ones."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """All counts, in the order of the fields."""
        return (
            self.input_tokens, self.output_tokens, self.cache_read_tokens,
            self.cache_write_5m_tokens, self.cache_write_1h_tokens, self.reasoning_tokens,
        )  # fmt: skip

    @property
    def total_tokens(self) -> int:
        """Input and output; cached and reasoning tokens are inside them."""
        return self.input_tokens + self.output_tokens

    @property
    def uncached_tokens(self) -> int:
        """What an account that counts uncached tokens counts: all but the input read from a cache."""
        return self.input_tokens - self.cache_read_tokens + self.output_tokens

    @property
    def cache_write_tokens(self) -> int:
        """Input written to the provider's cache, both times to live."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens


def clamp(usage: Usage) -> tuple[Usage, bool]:
    """Return usage whose parts fit into their wholes, and whether it had to be changed.

    Some providers report more cached than prompt tokens. The whole is believed before its parts: cache reads are
    cut to the input, then writes to what is left, then reasoning to the output.
    """
    if (
        usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens <= usage.input_tokens
        and usage.reasoning_tokens <= usage.output_tokens
    ):
        return usage, False
    read = min(usage.cache_read_tokens, usage.input_tokens)
    write_1h = min(usage.cache_write_1h_tokens, usage.input_tokens - read)
    write_5m = min(usage.cache_write_5m_tokens, usage.input_tokens - read - write_1h)
    clamped = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens),
    )
    return clamped, True
