"""Which entry of the price data a name means."""

import pytest

from token_ledger.storage.published_prices import resolve_alias

DATED = {
    # The day's version of a model, which the publisher does not list.
    ("openai", "gpt-5.4-2027-03-05"): ("openai", "gpt-5.4"),
    ("openai", "gpt-5.4-mini-2027-03-05"): ("openai", "gpt-5.4-mini"),
    ("openai", " GPT-5.4-2027-03-05 "): ("openai", "gpt-5.4"),
    ("openai", "gpt-5.4-20270305"): ("openai", "gpt-5.4"),
    ("azure", "o3-mini-2027-03-05"): ("azure", "o3-mini"),
    ("azure", "gpt-5.4-2027-03-05"): ("openai", "gpt-5.4"),
    ("anthropic", "claude-opus-4-8-20270305"): ("anthropic", "claude-opus-4-8"),
    ("google-vertex", "claude-opus-5@20270305"): ("google", "claude-opus-5"),
    ("google", "models/gemini-2.5-flash-2027-03-05"): ("google", "gemini-2.5-flash"),
    ("groq", "llama-3.1-8b-instant-20270305"): ("groq", "llama-3.1-8b-instant"),
    ("openrouter", "x-ai/grok-4.3-20270305"): ("openrouter", "x-ai/grok-4.3"),
    ("openrouter", "anthropic/claude-2-20270305"): ("openrouter", "anthropic/claude-2"),
    # The publisher says of a dated name what it is.
    ("openai", "gpt-4o-2024-05-13"): ("openai", "gpt-4o-2024-05-13"),
    ("openai", "gpt-4o-2024-08-06"): ("openai", "gpt-4o"),
    ("openai", "gpt-5.4-2026-03-05"): ("openai", "gpt-5.4"),
    # No date, no whole one, or no known model before it.
    ("openai", "gpt-5.4-2027-13-05"): None,
    ("openai", "gpt-5.4-2027-02-30"): None,
    ("openai", "gpt-5.4-0305"): None,
    ("openai", "gpt-5.4-2027-03-05-tuned"): None,
    ("openai", "gpt-nobody-knows-2027-03-05"): None,
    ("openai", "2027-03-05"): None,
    ("nobody", "gpt-5.4-2027-03-05"): None,
    # A fine-tune is never its base model.
    ("openai", "ft:gpt-5.4-2027-03-05:acme::1"): None,
}


@pytest.mark.parametrize(("name", "entry"), DATED.items(), ids=[" ".join(name) for name in DATED])
def test_a_dated_name_is_that_of_its_model(name: tuple[str, str], entry: tuple[str, str] | None) -> None:
    assert resolve_alias(*name) == entry
