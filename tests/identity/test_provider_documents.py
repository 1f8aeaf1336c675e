"""Which addresses documents of identity providers are fetched from: as they are written, and as names resolve."""

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from token_ledger.identity.provider_documents import AddressRefused, ProviderDocuments, check_provider_url

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.acme.test", "http://127.0.0.1/keys", "http://localhost:8080", "https://localhost", "ftp://8.8.8.8",
        "https://", "https://127.0.0.1", "https://[::1]", "https://0.0.0.0", "https://10.1.2.3", "https://172.16.0.1",
        "https://192.168.1.1", "https://169.254.169.254/latest", "https://100.64.0.1", "https://224.0.0.1",
        "https://255.255.255.255", "https://[fe80::1]", "https://[fd00::1]", "https://[ff02::1]",
        "https://[::ffff:127.0.0.1]", "https://[64:ff9b::a00:1]", "https://[2002:a00:1::]", "http://8.8.8.8",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_provider_url(url, ())


@pytest.mark.parametrize("url", ["https://id.acme.test", "https://8.8.8.8", "https://[2606:4700::1111]:8443/keys"])
def test_a_public_address_is_taken(url: str) -> None:
    assert str(check_provider_url(url, ())) == url


def test_a_network_that_is_allowed_is_taken_and_http_only_of_this_machine() -> None:
    networks = (*LOOPBACK, ip_network("10.0.0.0/8"))
    for url in ("http://127.0.0.1:80", "http://localhost", "https://10.0.0.1", "https://localhost"):
        check_provider_url(url, networks)
    for url in ("http://10.0.0.1", "https://192.168.0.1"):
        with pytest.raises(AddressRefused):
            check_provider_url(url, networks)


class Resolver:
    """Stands in for the name service: `found` is what every name is at, if it is asked for the first time."""

    def __init__(self, *found: str) -> None:
        self.found, self.asked = found, 0

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        if self.asked > 1:
            raise OSError("whoever connects has no need to ask again")
        return [(None, None, None, "", (address, port)) for address in self.found]


@pytest.mark.parametrize("at", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:169.254.169.254"])
async def test_a_name_at_an_address_that_is_not_public_is_refused(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Resolver(at).getaddrinfo)
    documents = ProviderDocuments((), timeout_seconds=1)
    with pytest.raises(AddressRefused, match="no public address"):
        await documents.fetch("https://id.acme.test/keys")
    await documents.close()


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that answers otherwise the second time is not asked a second time."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = Resolver("10.0.0.1", "127.0.0.1")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    documents = ProviderDocuments(LOOPBACK, timeout_seconds=5)
    assert await documents.fetch(f"http://localhost:{port}/keys") == b"{}"
    assert f"host: localhost:{port}\r\n" in asked[0].lower()
    await documents.close()
    server.close()
