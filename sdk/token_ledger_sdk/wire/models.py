"""Models on the wire: what the service knows of one."""

from __future__ import annotations

from urllib.parse import urlencode

from .requests import ApiRequest, get, path_to


def model_request(provider: str, model: str, known_tag: str | None = None) -> ApiRequest:
    """Build the request for what is known of one model, by any of its names."""
    return get(f"{path_to('models')}?{urlencode({'provider': provider, 'model': model, 'limit': 1})}", known_tag)
