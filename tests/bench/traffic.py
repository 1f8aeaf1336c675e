"""Owns the calls of the benchmarks: user, cost center, agent type, model and size.

The mix decides how many roll-up rows a batch touches. It is that of a small company: 20 users in 4 cost centers, 4
agent types and 2 models (160 combinations a day). `load.lua` sends the same mix over HTTP.
"""

from typing import NamedTuple

USERS = 20
COST_CENTERS = 4
AGENT_TYPES = 4
MODELS = (("openai", "gpt-5.4"), ("anthropic", "claude-sonnet-4-6"))


class Caller(NamedTuple):
    """The fields that are the same in every call of a caller."""

    user: str
    cost_center: str
    agent_type: str
    provider: str
    model: str


def caller(number: int) -> Caller:
    """Return the caller with a number; numbers are spread evenly over the mix."""
    user, rest = number % USERS, number // USERS
    provider, model = MODELS[rest // AGENT_TYPES % len(MODELS)]
    return Caller(f"user-{user}", f"cost-center-{user % COST_CENTERS}", f"agent-{rest % AGENT_TYPES}", provider, model)


def size(number: int) -> tuple[int, int]:
    """Return the input and output tokens of a call by its number; holds set twice the output aside."""
    return 800 + number % 400, 100 + number % 50
