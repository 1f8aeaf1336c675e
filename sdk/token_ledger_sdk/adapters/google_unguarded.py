"""The requests of Google's API that a wrapped client does not guard: which are free, and what to do about the others.

Also the parts of its library that work over connections of their own, which nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from .unguarded import INSTEAD, LATER, SESSION, refuse

UNSEEN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "live": (SESSION, ()),
    "interactions": (INSTEAD, ()),
    "triggers": (INSTEAD, ()),
    "decisions": (INSTEAD, ()),
    "environments": (INSTEAD, ()),
    "voices": (INSTEAD, ()),
    "batches": (LATER, ("get", "list", "cancel", "delete", "vertexai")),
}
"""Parts that call models unseen: what to do instead, and what may be asked of them all the same."""
_FREE = frozenset(
    {"countTokens", "computeTokens", "cancel", "fetchPredictOperation", "register"}
    | {"files", "cachedContents", "fileSearchStores", "agents", "credentials", "webhooks"}
)
"""Verbs, and kinds of things that are made: what is kept is charged by the hour or the day, and not by the call."""
_REFUSED = {
    "predictLongRunning": INSTEAD,
    "batchGenerateContent": LATER,
    "asyncBatchEmbedContent": LATER,
    "batchPredictionJobs": LATER,
    "importFile": INSTEAD,
    "uploadToFileSearchStore": INSTEAD,
    "tuningJobs": INSTEAD,
    "tunedModels": INSTEAD,
    "validateReinforcementTuningReward": INSTEAD,
    "auth_tokens": SESSION,
    "environments": INSTEAD,
    "interactions": INSTEAD,
    "triggers": INSTEAD,
    "decisions": INSTEAD,
    "voices": INSTEAD,
}


def check(method: str, url: str) -> None:
    """Let a free request pass; raises TypeError for any other that is not guarded."""
    if method.lower() != "post":
        return
    what = action_of(url)
    if what not in _FREE:
        refuse(f"POST …{what}", _REFUSED.get(what, INSTEAD))


def knows(method: str, url: str) -> bool:
    """Whether a request is on one of the lists."""
    return method.lower() != "post" or action_of(url) in _FREE or action_of(url) in _REFUSED


def action_of(url: str) -> str:
    """Return the verb of a request, or the kind of things that it makes one of."""
    return re.split("[/:]", unquote(urlsplit(url).path))[-1]
