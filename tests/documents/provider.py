"""A provider for the examples of the pages: it answers every call with the same figures."""

from types import SimpleNamespace
from typing import Any

prompts = ["one", "two", "three"]


def _create(*, model: str, max_output_tokens: int, **request: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 900,
        "input_tokens_details": {"cached_tokens": 512},
        "output_tokens": 100,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1_000,
    }
    return {"id": "resp_1", "object": "response", "model": model, "usage": usage}


client = SimpleNamespace(responses=SimpleNamespace(create=_create))
