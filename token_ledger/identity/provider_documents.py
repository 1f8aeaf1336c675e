"""Owns how documents of identity providers are fetched: from public addresses only, over https, whole or not at all.

Whoever names a provider, or writes its discovery document, chooses an address that this process connects to. So a name
is resolved here, every address is checked, and the connection goes to an address that was checked. No redirect is
followed, and an answer is bounded. How long all of it may take is the caller's to say.
"""

import asyncio
import re
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM

import httpx2

MOST_DOCUMENT_BYTES = 1_000_000

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_HOST = re.compile(r"[\w.:-]+")
_NAT64 = IPv6Network("64:ff9b::/96")
_ALLOW = "if it is meant, let an operator add its network to TOKEN_LEDGER_IDENTITY_PROVIDER_NETWORKS"


class AddressRefused(ValueError):
    """An address that nothing is fetched from."""


class ProviderDocuments:
    """Fetches documents; `networks` are those besides the public internet that providers may be in."""

    def __init__(self, networks: tuple[Network, ...], *, timeout_seconds: float) -> None:
        self._networks = networks
        self._timeout_seconds = timeout_seconds

    @cached_property
    def _http(self) -> httpx2.AsyncClient:
        """The client, made for the first document: it reads all authorities of the machine, which takes 20 ms."""
        # Compressed answers are not asked for, because a small one can unpack to gigabytes.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        return httpx2.AsyncClient(
            timeout=self._timeout_seconds, follow_redirects=False, trust_env=True, headers=headers
        )  # fmt: skip

    async def fetch(self, url: str) -> bytes:
        """Return what an address answers; raises AddressRefused, OSError, httpx2.HTTPError, ValueError if too large."""
        named = check_provider_url(url, self._networks)
        refused: httpx2.ConnectError | None = None
        for address in await self._addresses(named):
            try:
                return await self._fetch_from(named, address)
            except httpx2.ConnectError as error:
                refused = error
        assert refused is not None, "a name that has no address is refused"
        raise refused

    async def _addresses(self, named: httpx2.URL) -> list[Address]:
        """Return the addresses of a host that may be connected to, best first."""
        found = await asyncio.get_running_loop().getaddrinfo(named.host, named.port or 443, type=SOCK_STREAM)
        addresses = list(dict.fromkeys(ip_address(place[4][0]) for place in found))
        allowed = [address for address in addresses if _is_allowed(address, named, self._networks)]
        if not allowed:
            shown = ", ".join(map(str, addresses))
            raise AddressRefused(f"{named.host} is at {shown}, which is no public address; {_ALLOW}")
        return allowed

    async def _fetch_from(self, named: httpx2.URL, address: Address) -> bytes:
        request = self._http.stream(
            "GET",
            named.copy_with(host=str(address)),
            headers={"Host": named.netloc.decode("ascii")},
            extensions={"sni_hostname": named.host},
        )
        async with request as response:
            response.raise_for_status()
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ValueError(f"{named} is compressed, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_DOCUMENT_BYTES:
                    raise ValueError(f"{named} has more than {MOST_DOCUMENT_BYTES} bytes")
        return bytes(body)

    async def close(self) -> None:
        """Close the connections."""
        if "_http" in vars(self):
            await self._http.aclose()


def check_provider_url(url: str, networks: tuple[Network, ...]) -> httpx2.URL:
    """Return an address that may be fetched from, as far as it can be seen without asking for its name.

    That is https, or http to this machine where `networks` has its address. Raises AddressRefused.
    """
    try:
        named = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise AddressRefused(f"{url!r} is not a URL: {error}") from None
    if named.userinfo:
        raise AddressRefused("an address with a login in it; anybody may read the keys of a provider, so leave it out")
    if named.scheme not in ("https", "http") or not _HOST.fullmatch(named.host):
        raise AddressRefused(f"{url!r} is not https; keys are fetched over https")
    try:
        address = ip_address("127.0.0.1" if named.host == "localhost" else named.host)
    except ValueError:
        if named.scheme == "http":
            raise AddressRefused(f"{url!r} is not https; keys are fetched over https") from None
        return named  # a name, whose addresses are checked when they are known
    if not _is_allowed(address, named, networks):
        if named.scheme == "http":
            raise AddressRefused(
                f"{url!r} is not https; over http, only this machine can be asked, where that is allowed"
            )
        raise AddressRefused(f"{url!r} is at no public address; {_ALLOW}")
    return named


def _is_allowed(address: Address, named: httpx2.URL, networks: tuple[Network, ...]) -> bool:
    """Return whether a connection may be made: to a public address, or one in the networks; http to this machine."""
    if named.scheme == "http" and not address.is_loopback:
        return False
    if any(address in network for network in networks):
        return True
    within = _embedded(address)
    return address.is_global and not address.is_multicast and (within is None or within.is_global)


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end up at, if it is one of those that name one."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (None if teredo is None else teredo[1])
