"""Says when a request that is authenticated by a flow of its own is really about to be sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator

import httpx2


class AnnouncedAuth(httpx2.Auth):
    """Another authentication, which calls `announce` once it has what it needs, such as a token.

    What it raises before that, because the caller's credentials are not to be had, has cost nothing.
    """

    def __init__(self, auth: httpx2.Auth, announce: Callable[[], None]) -> None:
        self._auth = auth
        self._announce = announce

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Authenticate a request."""
        flow = self._auth.sync_auth_flow(request)
        try:
            request = next(flow)
            self._announce()
            while True:
                request = flow.send((yield request))
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Authenticate a request."""
        flow = self._auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            self._announce()
            while True:
                request = await flow.asend((yield request))
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()
