"""Counts that are corrected by what was charged: how near they come, and what is never learned."""

from __future__ import annotations

import gzip
import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from token_ledger_sdk.adapters.anthropic_requests import ask_of
from token_ledger_sdk.adapters.earlier_responses import EarlierResponses
from token_ledger_sdk.calibration import LEAST_RATIO, MOST_RATIO, Calibration, learned
from token_ledger_sdk.guard.ask import Ask
from token_ledger_sdk.text_tokens import count_text
from token_ledger_sdk.tokens import count_tokens

ANTHROPIC = Path(__file__).parent / "data" / "counted_anthropic.jsonl.gz"
TEXT = "It was a dark and stormy night; the rain fell in torrents. " * 100


@pytest.mark.parametrize("ratio", [0.5, 0.7, 1.0, 1.15, 1.4, 2.0])
@pytest.mark.parametrize("longest", [60, 3_000, 50_000])
@pytest.mark.parametrize("seed", range(10))
def test_after_4000_tokens_a_count_is_within_15_percent_of_what_is_charged(
    ratio: float, longest: int, seed: int
) -> None:
    """For a provider that counts from half to twice as much as we do, evenly within 5 percent."""
    draw, calibration, counted = random.Random(seed), Calibration(), 0  # no secret
    for number in range(200):
        tokens = draw.randint(20, longest)
        charged = round(tokens * ratio * draw.uniform(0.95, 1.05))
        if counted >= 4_000:
            said = round(tokens * calibration.ratio("m"))
            assert abs(said - charged) <= 0.15 * charged + 1, (seed, number)
        calibration.learn("m", counted=tokens, charged=charged)
        counted += tokens


def test_a_model_that_changes_is_followed() -> None:
    calibration = Calibration()
    for ratio in (1.0, 1.6):
        for _ in range(150):
            calibration.learn("m", counted=1_000, charged=round(1_000 * ratio))
    assert calibration.ratio("m") == pytest.approx(1.6, rel=0.05)


@pytest.mark.parametrize(("charged", "ratio"), [(10, 1.0), (100_000, 1.0), (300, LEAST_RATIO), (3_900, MOST_RATIO)])
def test_no_count_is_corrected_without_bounds(charged: int, ratio: float) -> None:
    """What is charged many times over is something that was not counted, such as a document behind an address."""
    calibration = Calibration()
    for _ in range(200):
        calibration.learn("m", counted=1_000, charged=charged)
    assert calibration.ratio("m") == ratio


def test_a_single_short_call_tells_little() -> None:
    calibration = Calibration()
    calibration.learn("m", counted=10, charged=20)
    assert calibration.ratio("m") < 1.1


def test_a_single_huge_call_does_not_decide() -> None:
    calibration = Calibration()
    for _ in range(100):
        calibration.learn("m", counted=20_000, charged=20_000)
    calibration.learn("m", counted=10_000_000, charged=20_000_000)
    assert calibration.ratio("m") < 1.3


def test_the_models_that_are_kept_are_bounded() -> None:
    calibration = Calibration()
    for number in range(2_000):
        calibration.learn(f"m{number}", counted=1_000, charged=1_500)
        assert calibration.ratio("m0") > 1.3  # used, so it is kept
    assert (calibration.ratio("m1"), calibration.ratio("m1999") > 1.3) == (1.0, True)
    assert len(calibration._seen) == 1_000


def test_threads_learn_together() -> None:
    calibration = Calibration()

    def work() -> None:
        for _ in range(1_000):
            calibration.learn("m", counted=1_000, charged=1_500)
            assert 1.0 < calibration.ratio("m") <= 1.5

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_counts_of_a_model_are_corrected_and_those_of_openai_are_not() -> None:
    before = {model: count_tokens(TEXT, model)[0] for model in ("mistral-large-latest", "gpt-5.4", "claude-opus-4-8")}
    assert before["claude-opus-4-8"] == pytest.approx(1.4 * before["gpt-5.4"], rel=0.01)
    for model in before:
        Ask(provider="p", model=model, input_tokens=10_000).learn(model, 12_000)
    after = {model: count_tokens(TEXT, model)[0] for model in before}
    assert after["gpt-5.4"] == before["gpt-5.4"]
    for model in ("mistral-large-latest", "claude-opus-4-8"):
        assert after[model] == pytest.approx(1.2 * before[model], rel=0.01)
        messages = [{"role": "user", "content": TEXT}]
        assert count_tokens(messages, model)[0] == pytest.approx(after[model], rel=0.02)


@pytest.mark.parametrize(
    ("ask", "served"),
    [
        (Ask(provider="p", model="m", input_tokens=1_000, is_counted=False), "m"),
        (Ask(provider="p", model="m", input_tokens=1_000, max_usage={"web_searches": 1}), "m"),
        (Ask(provider="p", model="m", input_tokens=1_000), "another"),
        (Ask(provider="p", model="gpt-5.4", input_tokens=1_000), "gpt-5.4"),
    ],
)
def test_what_says_nothing_of_a_vocabulary_is_not_learned(ask: Ask, served: str) -> None:
    ask.learn(served, 1_500)
    assert learned.ratio(ask.model) == 1.0


def test_recorded_requests_are_counted_within_15_percent_once_like_ones_were_charged() -> None:
    """The other requests of the same model, and this one as often as an agent's loop repeats it."""
    with gzip.open(ANTHROPIC, "rt", encoding="utf-8") as lines:
        recorded: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for each in recorded:
        learned.forget()
        ask = ask_of({**each["body"], "model": each["model"]}, "anthropic", EarlierResponses(), count_text)
        for _ in range(-(-4_000 // ask.input_tokens)):
            ask.learn(ask.model, each["input_tokens"])
        assert abs(ask.corrected().input_tokens - each["input_tokens"]) <= 0.15 * each["input_tokens"] + 1, each["file"]
