"""Owns what is said of a call by its provider's response id: whether the same response was reported before.

A response is known by its tenant, the provider in the books and the provider's id. One response may have used several
models, so a call is known by its model besides. With the same usage it is a *duplicate*, which books nothing.
"""

from enum import StrEnum

from token_ledger.core.model.other_kinds import REQUESTS


class Repetition(StrEnum):
    """What was found under the response id of a call."""

    FIRST = "first"
    """No call of this model."""
    DUPLICATE = "duplicate"
    """The same call, reported under another key or on another hold: nothing is booked."""
    REPLACES = "replaces"
    """The same call, reported without a hold before: that is taken back, this one is on its hold's path."""
    OTHER_USAGE = "other_usage"
    """A call with another usage. This one is booked too, because nobody can tell which of them is right."""
    NOT_UNIQUE = "not_unique"
    """Nothing, because the id does not tell responses apart: booked."""


KNOWN_BY_ID = (Repetition.FIRST, Repetition.REPLACES, Repetition.OTHER_USAGE)
"""What is said of the calls that later ones are compared with."""

DOUBTFUL = (Repetition.OTHER_USAGE, Repetition.NOT_UNIQUE)
"""What is said of calls that may be booked twice, for people to look at."""

MOST_CALLS = 16
"""Under how many calls an id is believed to tell responses apart. A response has one call for each model that it used;
an id of more is one that its provider, or a gateway before it, gives again and again."""

NOT_COMPARED = REQUESTS
"""The kind that the service itself adds to calls with a fee; reports of one call may differ in it."""

NOT_UNIQUE_IDS = {
    "ollama": "an answer's id is a random number below 999, as in chatcmpl-417 (below 999,999 for the Responses API)",
}
"""Providers, as in the books, that give the same id to responses that have nothing to do with each other, and why."""


def tells_responses_apart(provider: str, response_id: str) -> bool:
    """Tell whether a provider gives an id to one response only."""
    return bool(response_id) and provider not in NOT_UNIQUE_IDS
