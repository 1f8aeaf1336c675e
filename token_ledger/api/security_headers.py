"""Adds the headers that keep browsers from doing with an answer what it is not meant for."""

from collections.abc import Sequence
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

HEADERS: Final = {
    # Answers have a tenant's figures, and the browser of a user may be shared.
    "Cache-Control": "no-store",
    # No answer but the documentation page is a page.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Each unless the answer has its own. Strict-Transport-Security is for the proxy that has the certificate."""
_RAW: Final = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())


def with_security_headers(headers: RawHeaders) -> RawHeaders:
    """Return the headers of an answer with those of `HEADERS` that it lacks."""
    names = {name for name, _ in headers}
    return [*headers, *(header for header in _RAW if header[0] not in names)]
