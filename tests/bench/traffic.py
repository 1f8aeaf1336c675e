"""Owns what the calls of a benchmark look like: who calls, for whom, with which model, and how large a call is.

The mix decides how many rows the roll-ups of a batch touch, so it is that of a small company: 20 users in 4 cost
centers with 4 agent types on 2 models (160 combinations a day). `load.lua` makes the same mix over HTTP.
"""

from typing import NamedTuple

USERS = 20
COST_CENTERS = 4
AGENT_TYPES = 4
MODELS = (("openai", "gpt-5.4"), ("anthropic", "claude-sonnet-4-6"))


class Caller(NamedTuple):
    """What is the same in every call of one caller."""

    user: str
    cost_center: str
    agent_type: str
    provider: str
    model: str


def caller(number: int) -> Caller:
    """Return who the caller of a number is; the numbers spread evenly over the mix."""
    user, rest = number % USERS, number // USERS
    provider, model = MODELS[rest // AGENT_TYPES % len(MODELS)]
    return Caller(f"user-{user}", f"cost-center-{user % COST_CENTERS}", f"agent-{rest % AGENT_TYPES}", provider, model)


def size(number: int) -> tuple[int, int]:
    """Return input and output tokens of a caller's call of a number; a hold sets twice the output aside."""
    return 800 + number % 400, 100 + number % 50
