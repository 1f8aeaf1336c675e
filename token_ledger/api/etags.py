"""Marks an answer by its content, so that a client that has it already is told so in a few bytes."""

import json
from hashlib import blake2b
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


def unchanged(request: Request, response: Response, answer: Any) -> Response | None:
    """Give an answer its entity tag; return what to send instead if the request has the tag already."""
    content = json.dumps(answer, sort_keys=True, separators=(",", ":")).encode()
    tag = f'"{blake2b(content, digest_size=16).hexdigest()}"'
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "private, no-cache"
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=dict(response.headers)) if tag in known or "*" in known else None
